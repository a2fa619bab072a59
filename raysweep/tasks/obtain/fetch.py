"""One file from the web, whole or not at all: goes on where it stopped, and is checked before it counts."""

import errno
import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import requests
import urllib3

import raysweep
from raysweep.errors import WorkError
from raysweep.retry import is_transient, retried
from raysweep.tasks.obtain.spec import RemoteFile

_TRIES = 5  # without a byte more; then it is given up
_TIMEOUT = (15.0, 60.0)  # seconds: to connect, and from one piece to the next
_PIECE = 2**20
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})  # what a server says that may work again soon


class GivenUpError(Exception):
    """Somebody asked for the end; what has arrived is kept."""


def fetch(file: RemoteFile, folder: Path, *, tell: Callable[[int], None], stop: threading.Event) -> Path:
    """The path of a file's bytes in `folder`, from its `url`: fetched, or what is missing of it, and checked.

    tell: called with the bytes that are there now more than before (negative: fewer). stop: ends it with GivenUpError;
    the next call goes on. Raises WorkError saying what to do: an address that answers otherwise, a network that stays
    away, another size or checksum than the card's, a full disk.
    """
    target = folder / file.name.replace("/", "--")
    if target.exists():  # it was checked when it got this name
        tell(target.stat().st_size)
        return target
    part = _Part(target.with_name(f"{target.name}.part"))
    tell(part.size)
    resumed = part.size > 0
    try:
        _fetch_all(file, part, tell, stop)
        wrong = problem(file, part.path)
        if wrong and resumed:  # of two versions, perhaps: what was kept of an earlier day is no part of this one
            part.restart(tell)
            _fetch_all(file, part, tell, stop)
            wrong = problem(file, part.path)
    except OSError as error:
        if isinstance(error, requests.RequestException):
            raise WorkError(f"{file.url}: cannot be fetched ({_short(error)})") from error
        if error.errno == errno.ENOSPC:
            raise WorkError(
                f"{part.path}: no space is left on the disk; {part.size:,} bytes of {file.name} are kept, and the same "
                "command goes on from there when there is room"
            ) from error
        raise WorkError(f"{part.path}: cannot be written ({error.strerror or error})") from error
    if wrong:
        part.restart(tell)
        raise WorkError(f"{file.url}: {wrong}; it was removed: try again, or correct the card if the set has changed")
    part.path.rename(target)
    part.forget()
    return target


def problem(file: RemoteFile, path: Path) -> str | None:
    """How a file differs from what the card says of it, in words; None where it does not."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"has {size:,} bytes, and the card says {file.size:,}"
    for kind in ("sha256", "md5"):
        expected = getattr(file, kind)
        if expected is not None:
            with open(path, "rb") as stream:
                found = hashlib.file_digest(stream, kind).hexdigest()
            return None if found == expected else f"its {kind} is {found}, and the card says {expected}"
    return None


class _Part:
    """What has arrived of a file, and what the server called the version that it is of."""

    def __init__(self, path: Path) -> None:
        self.path, self._about = path, path.with_name(f"{path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str | None:
        try:
            return str(json.loads(self._about.read_text())["version"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, version: str | None) -> None:
        self.forget()
        if version:
            self._about.write_text(json.dumps({"version": version}))

    def forget(self) -> None:
        self._about.unlink(missing_ok=True)

    def restart(self, tell: Callable[[int], None]) -> None:
        tell(-self.size)
        self.path.unlink(missing_ok=True)
        self.forget()


def _fetch_all(file: RemoteFile, part: _Part, tell: Callable[[int], None], stop: threading.Event) -> None:
    """Ask for what is missing until nothing is; given up when several tries in a row bring not a byte."""
    with requests.Session() as session:
        while True:
            before = part.size
            try:
                return retried(lambda: _ask(session, file, part, tell, stop), tries=_TRIES)
            except OSError as error:
                if not is_transient(error):
                    raise
                if part.size <= before:
                    raise WorkError(
                        f"{file.url}: cannot be fetched ({_short(error)}); {part.size:,} bytes are kept: run the same "
                        f"command again, or put {file.name} into the set's folder yourself"
                    ) from error


def _ask(
    session: requests.Session, file: RemoteFile, part: _Part, tell: Callable[[int], None], stop: threading.Event
) -> None:
    if stop.is_set():
        raise GivenUpError
    assert file.url is not None
    have = part.size
    headers = {"Accept-Encoding": "identity", "User-Agent": f"raysweep/{raysweep.__version__}"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if part.version:
            headers["If-Range"] = part.version
    try:
        with session.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            _check(answer, file)
            if answer.status_code == 416:  # it has no more than we have
                if file.size != have:
                    part.restart(tell)
                    raise _dropped(f"no bytes after {have:,}")
                return
            start, total = _extent(answer)
            if start != have:
                part.restart(tell)
                have = 0
                if start:
                    raise _dropped(f"bytes from {start:,} on, not from {have:,}")
            if total is not None and file.size is not None and total != file.size:
                raise WorkError(
                    f"{file.url}: has {total:,} bytes, and the card says {file.size:,}: another version of the "
                    "set; look at its page, and correct the card if it is the right one"
                )
            if not have:
                part.begin(_version(answer))
            _write(answer, file, part, total, tell, stop)
    except requests.exceptions.SSLError:
        raise
    except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
        raise _dropped(_short(error)) from error


def _write(
    answer: requests.Response, file: RemoteFile, part: _Part, total: int | None, tell: Callable[[int], None],
    stop: threading.Event,
) -> None:  # fmt: skip
    most = total if total is not None else file.size
    have = part.size
    with open(part.path, "ab", buffering=0) as stream:
        for piece in answer.raw.stream(_PIECE, decode_content=False):
            if stop.is_set():
                raise GivenUpError
            have += len(piece)
            if most is not None and have > most:
                raise WorkError(f"{file.url}: sends more than the {most:,} bytes that it has; try again later")
            _whole(stream, piece)
            tell(len(piece))
    if most is not None and have < most:
        raise _dropped(f"the connection ended after {have:,} of {most:,} bytes")


def _whole(stream, piece: bytes) -> None:
    """Write all of it: the system may take a part, on a disk that is nearly full."""
    view = memoryview(piece)
    while view:
        view = view[stream.write(view) :]


def _check(answer: requests.Response, file: RemoteFile) -> None:
    code = answer.status_code
    if code in _BUSY:
        raise OSError(errno.EAGAIN, f"the server answers {code} {answer.reason}")
    if code >= 400 and code != 416:
        raise WorkError(
            f"{file.url}: the server answers {code} {answer.reason}; if the file has moved, correct the card, or put "
            f"{file.name} into the set's folder yourself"
        )
    kind = answer.headers.get("Content-Type", "")
    if code < 400 and kind.startswith("text/html") and not file.name.lower().endswith((".html", ".htm")):
        raise WorkError(
            f"{file.url}: the server sends a web page where {file.name} is meant: it may want a login; get the file "
            "yourself and put it into the set's folder"
        )


def _extent(answer: requests.Response) -> tuple[int, int | None]:
    """Where the answer begins in the file, and the size of the file where it is said."""
    if answer.status_code == 206:
        unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
        span, _, total = rest.partition("/")
        start = span.partition("-")[0]
        if unit == "bytes" and start.isdigit():
            return int(start), int(total) if total.isdigit() else None
        return 0, None
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _version(answer: requests.Response) -> str | None:
    """What `If-Range` may say: a strong ETag, else the time of the last change (RFC 9110, 13.1.5)."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")


def _dropped(text: str) -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, text)


def _short(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:150]
