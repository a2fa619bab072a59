"""A web server on loopback that gives files away, and misbehaves as it is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """A file, and how it is served."""

    content: bytes = b""
    ranges: bool = True
    drop_after: int | None = None  # bytes of an answer, then the connection ends
    drops: int = 10**9  # so many times
    claims: int | None = None  # a Content-Length of its own
    statuses: list[int] = field(default_factory=list)  # answered first, one a request
    redirect: str | None = None
    kind: str = "application/octet-stream"
    etag: str | None = '"1"'


class Server:
    """`files` by path; `asked` holds path and Range header of every request."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.url = ""

    def put(self, name: str, content: bytes = b"", **how) -> str:
        """Serve a file; returns its url."""
        self.files[f"/{name}"] = Served(content, **how)
        return f"{self.url}/{name}"


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append((self.path, wanted))
            file = server.files.get(self.path)
            if file is None:
                return self.send_error(404)
            if file.statuses:
                return self.send_error(file.statuses.pop(0))
            if file.redirect:
                self.send_response(302)
                self.send_header("Location", file.redirect)
                return self.end_headers()
            content, start = file.content, 0
            same = self.headers.get("If-Range") in (None, file.etag)
            if wanted and file.ranges and same:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(content):
                    return self.send_error(416)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("Content-Type", file.kind)
            if file.etag:
                self.send_header("ETag", file.etag)
            body = content[start:]
            self.send_header("Content-Length", str(len(body) if file.claims is None else file.claims))
            self.end_headers()
            if file.drop_after is not None and file.drops > 0 and len(body) > file.drop_after:
                file.drops -= 1
                body = body[: file.drop_after]
            self.wfile.write(body)

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request, client_address) -> None:
            """A client that goes away in the middle is what some tests are about."""

    web = Quiet(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{web.server_address[1]}"
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        web.shutdown()
        web.server_close()
