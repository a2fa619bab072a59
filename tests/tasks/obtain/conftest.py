from collections.abc import Iterator

import pytest

import raysweep.retry

from .server import Server, serving


@pytest.fixture(scope="module")
def _web() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def web(_web: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server without files; tries follow each other at once."""
    monkeypatch.setattr(raysweep.retry, "_WAIT_SECONDS", 0.001)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    _web.files.clear()
    _web.asked.clear()
    return _web
