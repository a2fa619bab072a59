"""An address of a cluster is looked at before Ray is: every wrong one ends in a sentence, at once."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import ray

from raysweep.errors import RequestError, WorkError
from raysweep.progress import Progress
from raysweep.study import head
from raysweep.study.cluster import cluster, named_cluster


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def web() -> Iterator[int]:
    """Another service's port."""

    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_cluster_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{_free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", f" {address}\n")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # whatever other tests have started
    began = time.monotonic()
    with (
        pytest.raises(WorkError, match=f"RAY_ADDRESS: nothing answers at {address} .*unset"),
        cluster(Progress(quiet=True)),
    ):
        pass
    assert time.monotonic() - began < 5


def test_a_port_that_never_answers(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_ANSWER_SECONDS", 0.5)
    with pytest.raises(WorkError, match=rf"nothing answers at localhost:{silent}; a head's port is 6379"):
        head.find_head(f"localhost:{silent}")


def test_another_service(web: int) -> None:
    with pytest.raises(WorkError, match=f"is no head of a Ray cluster at 127.0.0.1:{web}"):
        head.find_head(f"127.0.0.1:{web}")


def test_a_host_that_nobody_knows() -> None:
    with pytest.raises(WorkError, match=r"the host of no-such-host\.invalid:6379 is not known"):
        head.find_head("no-such-host.invalid:6379")


def test_a_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(head, "_RESOLVE_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [never.wait(60)][:0])
    with pytest.raises(WorkError, match="is not known"):
        head.find_head("head:6379")
    never.set()


@pytest.mark.parametrize(
    "address",
    ["head", "6379", ":6379", "head:", "head:ray", "head:0", "head:70000", "head:-1", "redis://head:6379",
     "user@head:6379", "he ad:6379", "::1:6379", "head:6379/", "head:٣"],
)  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(RequestError, match=r"RAY_ADDRESS: .*is no HOST:PORT"):
        head.find_head(address)


def test_addresses_of_other_parts_of_ray() -> None:
    with pytest.raises(RequestError, match="a dashboard's, which RAY_API_SERVER_ADDRESS is for"):
        head.find_head("http://127.0.0.1:8265")
    with pytest.raises(RequestError, match="Ray Client's"):
        head.find_head("ray://127.0.0.1:10001")


def test_auto_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import ray._private.services as services

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(services, "find_gcs_addresses", lambda: set())  # other tests' Rays are on this machine
    with pytest.raises(WorkError, match="auto finds no Ray"):
        head.find_head("auto")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text(f"127.0.0.1:{_free_port()}")  # what a dead one leaves behind
    with pytest.raises(WorkError, match="nothing answers"):
        head.find_head("auto")


def test_a_head_is_found(ray_session: None) -> None:
    address = ray.get_runtime_context().gcs_address
    assert head.find_head(address) == (address, "")


def test_a_head_that_asks_for_a_token() -> None:
    """As one with Ray's authentication on answers a call without it."""
    import grpc

    def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        return b""

    service = "ray.rpc.NodeInfoGcsService"
    server = grpc.server(ThreadPoolExecutor(1))
    answers = {"CheckAlive": grpc.unary_unary_rpc_method_handler(refuse)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, answers),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        assert "RAY_AUTH_MODE=token" in head.find_head(address).advice
    finally:
        server.stop(None)


def test_another_grpc_service() -> None:
    import grpc

    server = grpc.server(ThreadPoolExecutor(1))  # such as a raylet's port
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(WorkError, match="is no head of a Ray cluster"):
            head.find_head(f"127.0.0.1:{port}")
    finally:
        server.stop(None)


def test_local_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", " ", "local"):
        monkeypatch.setenv("RAY_ADDRESS", value)
        assert named_cluster() is None
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert named_cluster() == "auto"


_LEFT = """
import socket, sys, time
from raysweep.study.head import Head, watched

server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
with watched(Head(f"127.0.0.1:{port}", "")):
    time.sleep(3)  # it answers
    print(port, flush=True)
    server.close()
    time.sleep(30)
"""


def test_a_head_that_goes_ends_the_process_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "10.5")
    done = subprocess.run([sys.executable, "-c", _LEFT], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"raysweep: the head of the cluster, 127.0.0.1:{done.stdout.strip()}, does not answer"
    )
