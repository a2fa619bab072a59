"""A way to an S3 server of this machine on which answers come late, cut short, wrong or not at all."""

import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.bucket import Bucket, serve_bucket

_CODES = {403: "AccessDenied", 500: "InternalError", 503: "SlowDown", 507: "XMinioStorageFull"}


@dataclass(frozen=True)
class Ask:
    """One request: GET, HEAD, PUT, POST or DELETE, the path with what follows a `?`, and how many came before."""

    method: str
    path: str
    number: int


@dataclass(frozen=True)
class Fault:
    """What happens to a request: nothing but a wait, an HTTP `status`, a connection that is cut before it is passed on
    (`cut`: asked), before its answer (answered), or in the middle of the answer (half), or an answer whose second half
    is missing though all of it looks right (`truncated`).
    """

    status: int = 0
    cut: str = ""
    truncated: bool = False
    wait_seconds: float = 0.0


@dataclass
class FaultyBucket:
    """The bucket `behind`, by a port of its own; `rule` says what happens to a request (None: nothing)."""

    behind: Bucket
    front: Bucket
    rule: Callable[[Ask], Fault | None]
    happened: Counter[str]


@contextmanager
def serve_faulty_bucket() -> Iterator[FaultyBucket]:
    with serve_bucket() as behind:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        made = FaultyBucket(behind, Bucket(server.server_address[1]), lambda ask: None, Counter())
        server.faulty, server.numbers = made, iter(range(2**62))  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield made
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.far: http.client.HTTPConnection | None = None
        with suppress(ConnectionError):
            super().handle()
        if self.far:
            self.far.close()

    def _pass(self) -> None:
        faulty: FaultyBucket = self.server.faulty  # type: ignore[attr-defined]
        body = self._body()
        ask = Ask(self.command, self.path, next(self.server.numbers))  # type: ignore[attr-defined]
        fault = faulty.rule(ask) or Fault()
        time.sleep(fault.wait_seconds)
        if fault != Fault():
            faulty.happened[self.command] += 1
        if fault.status:
            self._say(fault.status, [("Content-Type", "application/xml")], _words(fault.status))
        elif fault.cut == "asked":
            self._cut()
        else:
            status, headers, data = self._asked(faulty.behind.port, body)
            if fault.cut == "answered":
                self._cut()
            elif fault.cut == "half":
                self._say(status, headers, data, len(data) // 2)
                self._cut()
            else:
                self._say(status, headers, data[: len(data) // 2] if fault.truncated else data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while length := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(length))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(parts)

    def _asked(self, port: int, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        if self.far is None:
            self.far = http.client.HTTPConnection("127.0.0.1", port)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("transfer-encoding", "expect")}
        self.far.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
        answer = self.far.getresponse()
        data = answer.read()
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in ("transfer-encoding", "connection")]
        return answer.status, kept, data

    def _say(self, status: int, headers: list[tuple[str, str]], data: bytes, sent: int | None = None) -> None:
        self.send_response_only(status)
        for key, value in headers:
            if key.lower() != "content-length" or self.command == "HEAD":
                self.send_header(key, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        elif not any(key.lower() == "content-length" for key, _ in headers):
            self.send_header("Content-Length", "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:sent])

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def _words(status: int) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{_CODES[status]}</Code><Message>no</Message></Error>".encode()
