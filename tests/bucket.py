"""An S3 server on loopback, in this process, with one bucket; and a way to it that can be held up."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote
from urllib.request import Request, urlopen

import pyarrow.fs as pafs
from moto.server import ThreadedMotoServer

_SECRET = "testing:hush"


@dataclass(frozen=True)
class Bucket:
    """A bucket called `slides` at a port of this machine."""

    port: int
    options: str = ""

    def address(self, name: str = "", **options: str) -> str:
        query = {"scheme": "http", "endpoint_override": f"127.0.0.1:{self.port}", "region": "us-east-1", **options}
        return f"s3://{_SECRET}@slides/{quote(name, safe='/*')}?" + "&".join(f"{k}={v}" for k, v in query.items())

    def put(self, name: str, data: bytes) -> str:
        """Store an object; gives its address."""
        fs, root = pafs.FileSystem.from_uri(self.address())
        with fs.open_output_stream(f"{root.rstrip('/')}/{name}") as stream:
            stream.write(data)
        return self.address(name)


@contextmanager
def serve_bucket() -> Iterator[Bucket]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request below every test that fails
    try:
        bucket = Bucket(server.get_host_and_port()[1])
        fs, _ = pafs.FileSystem.from_uri(bucket.address(allow_bucket_creation="true"))
        fs.create_dir("slides")
        yield bucket
    finally:
        _, port = server.get_host_and_port()  # what the server holds belongs to the process and would outlive it
        urlopen(Request(f"http://127.0.0.1:{port}/moto-api/reset", method="POST")).close()
        server.stop()


class Gate:
    """A port that passes everything on to another, until `most` bytes have come back while it is closed."""

    def __init__(self, port: int, most: int) -> None:
        self._to, self._most, self.passed = port, most, 0
        self.open = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.open.set()
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            threading.Thread(target=self._pass, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with source, target:
            try:
                while data := source.recv(2**16):
                    if counted:
                        self.passed += len(data)
                        if self.passed > self._most:
                            self.open.wait()
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)
            except OSError:
                return
