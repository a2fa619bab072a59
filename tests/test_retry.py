"""Trying again."""

import errno

import pytest

from raysweep.errors import WorkError
from raysweep.retry import is_transient, retried


def failing(*errors):
    left = list(errors)

    def call():
        if left:
            raise left.pop(0)
        return "done"

    return call


def caused(error: Exception) -> Exception:
    try:
        raise WorkError("it cannot be copied") from error
    except WorkError as found:
        return found


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    seconds: list[float] = []
    monkeypatch.setattr("raysweep.retry.time.sleep", seconds.append)
    return seconds


def test_it_is_tried_three_times_with_longer_waits(waits):
    busy = OSError(errno.EIO, "Input/output error")
    assert retried(failing(busy, busy)) == "done"
    assert waits == pytest.approx([0.3, 1.2])
    with pytest.raises(OSError, match="Input/output"):
        retried(failing(busy, busy, busy))


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (OSError("When reading information for key 'a' in bucket 'b': AWS Error SLOW_DOWN (HTTP status 503)"), True),
        (caused(TimeoutError(errno.ETIMEDOUT, "")), True),
        (OSError("AWS Error UNKNOWN (HTTP status -1) during ListObjectsV2: XML_ERROR_PARSING_ELEMENT"), True),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (OSError("AWS Error ACCESS_DENIED (HTTP status 403)"), False),
        (OSError("AWS Error UNKNOWN (HTTP status 507)"), False),  # full: that does not pass by itself
        (OSError("image file is truncated"), False),
        (WorkError("truncated: 3 of 9 tiles"), False),
        (MemoryError(), False),
    ],
)
def test_only_what_may_be_gone_soon_is_tried_again(error, again):
    assert is_transient(error) is again
    if not again:
        with pytest.raises(type(error)):
            retried(failing(error))


def test_as_many_tries_as_are_asked_for(waits):
    busy = OSError(errno.EIO, "Input/output error")
    assert retried(failing(*[busy] * 4), tries=5) == "done"
    assert waits == pytest.approx([0.3, 1.2, 4.8, 19.2])
