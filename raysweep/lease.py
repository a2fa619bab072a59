"""One process at a time in a folder (today a study's): a file says who has it, kept fresh while they do."""

import errno
import fcntl
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from raysweep.errors import RequestError, WorkError
from raysweep.storage import Storage

_FILE = "lease.json"
_KEYS = {"host", "pid", "process", "token", "since", "beat"}
_BEAT_SECONDS = 5.0
_STALE_SECONDS = 60.0  # a holder that was silent for this long is dead
_BROKEN_SECONDS = 5.0  # a lease that nobody can read and that is this old was cut short by a crash
_SETTLE_SECONDS = 1.0  # on object storage: for a rival that wrote at the same time to be seen


def holder(folder: Storage) -> dict[str, Any] | None:
    """Who holds the folder now (host, pid, since, beat), or None when nobody does."""
    lease = _read(folder)
    return lease if lease and _alive(lease) else None


@contextmanager
def lease(folder: Storage) -> Iterator[None]:
    """Hold the folder's lease during the block.

    A dead holder's lease is taken over: at once when its process was on this host, after 60 s of silence otherwise.
    Of several that want it at the same time one gets it. A holder that finds another's token in the file has lost it
    (a machine that slept for minutes) and is interrupted.

    Raises RequestError naming a living holder, WorkError when the lease was lost on the way.
    """
    mine = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process": _process(os.getpid()),
        "token": uuid.uuid4().hex,
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    _acquire(folder, mine)
    stop, lost = threading.Event(), threading.Event()

    def keep() -> None:
        while not stop.wait(_BEAT_SECONDS):
            with suppress(WorkError, OSError):  # a full disk stops the run itself, with its own message
                if (_read(folder) or mine)["token"] != mine["token"]:
                    lost.set()
                    os.kill(os.getpid(), signal.SIGINT)
                    return
                folder.write_json({**mine, "beat": time.time()}, _FILE)

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield
    except KeyboardInterrupt:
        if not lost.is_set():
            raise
        raise WorkError(
            f"{folder.root}: this run was silent for so long that another one has taken its place; let that one finish"
        ) from None
    finally:
        stop.set()
        thread.join()
        if (_read(folder) or {}).get("token") == mine["token"]:
            folder.remove(_FILE)


def _acquire(folder: Storage, mine: dict[str, Any]) -> None:
    """Write the lease, or raise RequestError naming who has it."""
    entry = {**mine, "beat": time.time()}
    if not folder.is_local:
        _acquire_object(folder, entry)
        return
    path = Path(folder.path(_FILE))
    draft = path.with_name(f".tmp-lease-{mine['token']}")
    folder.write_json(entry, draft.name)
    try:
        while not _linked(draft, path):  # a link is made or it is not, on NFS too
            other = _read(folder)
            if other is not None and _alive(other):
                raise RequestError(_taken(folder, other))
            if other is not None or _broken(path):
                _bury(folder, path, other)
            else:  # it is being written, or was removed this moment
                time.sleep(0.02)
    finally:
        draft.unlink(missing_ok=True)


def _linked(draft: Path, path: Path) -> bool:
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise WorkError(f"{path}: cannot be written ({error.strerror or error})") from error
        try:  # a file system without hard links
            with open(path, "x") as file:
                file.write(draft.read_text())
        except FileExistsError:
            return False
    return True


def _broken(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _BROKEN_SECONDS
    except OSError:
        return False


def _bury(folder: Storage, path: Path, dead: dict[str, Any] | None) -> None:
    """Remove a dead holder's lease, or one that cannot be read (`dead` is None), and no other.

    Of several that try, each looks again while the rest wait.
    """
    with open(path.with_name(".tmp-lease.lock"), "w") as lock:
        with suppress(OSError):  # without locks two that take over in the same millisecond may both believe it theirs
            fcntl.flock(lock, fcntl.LOCK_EX)
        now = _read(folder)
        if now["token"] == dead["token"] if now and dead else now is dead and _broken(path):
            path.unlink(missing_ok=True)


def _acquire_object(folder: Storage, entry: dict[str, Any]) -> None:
    """The same where objects are written whole and cannot be created exclusively through Arrow.

    Everybody who wants it leaves a token of its own, looks whether anybody holds it, and waits a moment; the lowest
    token of those that are there wins. Tokens of the dead do not count.
    """
    other = holder(folder)
    if other:
        raise RequestError(_taken(folder, other))
    wanted = folder.at("lease-wanted")
    name = f"{entry['token']}.json"
    wanted.write_json(entry, name)
    try:
        time.sleep(_SETTLE_SECONDS)
        rivals = [r for n in wanted.names() if n != name and (r := _read(wanted, n)) and _alive(r)]
        other = holder(folder) or min((r for r in rivals if r["token"] < entry["token"]), key=lambda r: r["token"],
                                      default=None)  # fmt: skip
        if other:
            raise RequestError(_taken(folder, other))
        folder.write_json(entry, _FILE)
        time.sleep(_SETTLE_SECONDS)  # one that began to want it later sees the lease before this token goes
        now = _read(folder)
        if now is None or now["token"] != entry["token"]:
            raise RequestError(
                f"{folder.root}: another run has just started here; wait for it, or stop it and run again"
            )
    finally:
        wanted.remove(name)


def _taken(folder: Storage, other: dict[str, Any]) -> str:
    return (
        f"{folder.root}: already being run by process {other['pid']} on {other['host']} since "
        f"{other['since']}; wait for it, or stop it and run again"
    )


def _read(folder: Storage, name: str = _FILE) -> dict[str, Any] | None:
    """The lease in the file; None when there is none, or when it is being replaced or removed this moment."""
    try:
        found = folder.read_json(name)
    except (ValueError, OSError):
        return None
    return found if isinstance(found, dict) and found.keys() >= _KEYS else None


def _alive(lease: dict[str, Any]) -> bool:
    here = lease["host"] == socket.gethostname()
    if here and lease["process"] and _process(lease["pid"]) != lease["process"]:
        return False
    return (here and bool(lease["process"])) or time.time() - lease["beat"] < _STALE_SECONDS


def _process(pid: int) -> str:
    """What tells a process from a later one with its pid: boot and start time. Empty where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return f"{boot} gone"
    return f"{boot} {'gone' if stat[0] == 'Z' else stat[19]}"  # fields 3 and 22 of proc(5)
