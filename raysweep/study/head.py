"""The head of a running Ray cluster, looked at before Ray is: Ray itself tries a dead address for 14 minutes."""

import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from raysweep.errors import RequestError, WorkError

_RESOLVE_SECONDS = 15.0
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 20.0  # a head that starts a hundred nodes may be slow
_LOOK_SECONDS = 2.0  # from one look at a head in use to the next
_RAY_WAITS = "RAY_gcs_rpc_server_reconnect_timeout_s"
_BEFORE_SECONDS = 10.0  # that Ray would end the process
_TOKEN = "it asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token as on its head"
_ELSE = "name the head of a running cluster, or unset RAY_ADDRESS to run on this machine"


class Head(NamedTuple):
    """A head that answers: HOST:PORT, and what to say if Ray then cannot join it."""

    address: str
    advice: str


def find_head(address: str) -> Head:
    """The head that `address` names, once it has answered; `auto` is the cluster on this machine.

    Raises RequestError when it is no address of a head, and WorkError, within a minute, when no head answers there.
    """
    if address == "auto":
        address = _on_this_machine()
    host, port = _parsed(address)
    _connect(address, host, port)
    tls = os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")  # the certificates are Ray's own affair
    return Head(address, "" if tls or not _ask(address, host, port) else f"; {_TOKEN}")


@contextmanager
def watched(head: Head) -> Iterator[None]:
    """End this process with one sentence and code 1 when the head is gone in the block, a little before Ray would.

    Ray ends it from C++, a minute (RAY_gcs_rpc_server_reconnect_timeout_s) after its connection broke.
    """
    over = threading.Event()
    threading.Thread(target=_watch, args=(head.address, over), name="watch head", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(address: str, over: threading.Event) -> None:
    host, port = _parsed(address)
    try:
        patience = float(os.environ.get(_RAY_WAITS, "60")) - _BEFORE_SECONDS
    except ValueError:  # Ray itself then waits as by default
        patience = 60 - _BEFORE_SECONDS
    since = None
    while not over.wait(_LOOK_SECONDS):
        try:
            socket.create_connection((host, port), _CONNECT_SECONDS).close()
            since = None
        except OSError:
            since = since or time.monotonic()
            if time.monotonic() - since > patience and not over.is_set():
                gone = f"the head of the cluster, {address}, does not answer any more"
                again = "what is done is kept: the same command goes on when it is back, or elsewhere"
                print(f"raysweep: {gone}; {again}", file=sys.stderr, flush=True)
                os._exit(1)


def _on_this_machine() -> str:
    from ray._private.services import canonicalize_bootstrap_address

    try:
        found = canonicalize_bootstrap_address("auto")
    except ConnectionError as error:
        raise WorkError(f"RAY_ADDRESS: auto finds no Ray that was started on this machine; {_ELSE}") from error
    assert found is not None
    return found


def _parsed(address: str) -> tuple[str, int]:
    scheme, _, rest = address.rpartition("://")
    if scheme in ("http", "https"):
        raise RequestError(
            f"RAY_ADDRESS: {address} is a dashboard's, which RAY_API_SERVER_ADDRESS is for; the head's is HOST:6379"
        )
    if scheme == "ray":
        raise RequestError(
            f"RAY_ADDRESS: {address} is Ray Client's, which raysweep does not use; on a node of the cluster give the "
            "head's HOST:6379, from elsewhere submit a job"
        )
    host, _, port = rest.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    wrong = scheme or not bare or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 2**16
    if wrong or any(c in " /@" or not c.isprintable() for c in bare) or (":" in bare and bare == host):
        raise RequestError(f"RAY_ADDRESS: {address!r} is no HOST:PORT, such as 10.0.0.1:6379; {_ELSE}")
    return bare, int(port)


def _connect(address: str, host: str, port: int) -> None:
    """One connection, given up at once. A resolver may take minutes, and nothing can stop it: it has its own thread."""
    answers: queue.Queue[list | Exception] = queue.Queue()

    def resolve() -> None:
        try:
            answers.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=resolve, name="resolve", daemon=True).start()
    try:
        found = answers.get(timeout=_RESOLVE_SECONDS)
    except queue.Empty:
        found = TimeoutError("no answer")
    if isinstance(found, Exception):
        reason = getattr(found, "strerror", None) or found
        raise WorkError(f"RAY_ADDRESS: the host of {address} is not known ({reason}); {_ELSE}") from found
    problem: OSError | None = None
    for family, kind, protocol, _, where in found[:2]:  # the same host by IPv6 and IPv4
        with socket.socket(family, kind, protocol) as tried:
            tried.settimeout(_CONNECT_SECONDS)
            try:
                return tried.connect(where)
            except OSError as error:
                problem = error
    reason = getattr(problem, "strerror", None) or problem
    raise WorkError(f"RAY_ADDRESS: nothing answers at {address} ({reason}): that cluster is gone; {_ELSE}")


def _ask(address: str, host: str, port: int) -> bool:
    """Call what only a head has. Returns whether it asks for a token, which Ray will look for in several places."""
    import grpc

    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with grpc.insecure_channel(at, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
        try:
            call(b"", timeout=_ANSWER_SECONDS)
            return False
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                return True
            silent = error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            what = "nothing answers" if silent else "what answers is no head of a Ray cluster"
            raise WorkError(
                f"RAY_ADDRESS: {what} at {address}; a head's port is 6379, unless `ray start --port` gave it another; "
                f"{_ELSE}"
            ) from error
