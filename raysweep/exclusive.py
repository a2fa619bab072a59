"""Files that one of several processes has: created exclusively, on any file system, by a process that is known."""

import errno
import fcntl
import os
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from raysweep.errors import WorkError
from raysweep.storage import Storage

Entry = dict[str, Any]  # host, pid, process, token, since, beat: who, and when they were last heard of

_KEYS = {"host", "pid", "process", "token", "since", "beat"}
_STALE_SECONDS = 60.0  # a process of another machine that was seen to be silent for this long is dead
_BROKEN_SECONDS = 5.0  # a file that nobody can read and that stays as it is for so long was cut short by a crash
_SETTLE_SECONDS = 1.0  # on object storage: for a rival that wrote at the same time to be seen


def new_entry() -> Entry:
    """This process, with a token that no other has."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process": _process(os.getpid()),
        "token": uuid.uuid4().hex,
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "beat": time.time(),
    }


def read_entry(folder: Storage, name: str) -> Entry | None:
    """The entry in a file; None when there is none, or when it is being replaced or removed this moment."""
    try:
        found = folder.read_json(name)
    except (ValueError, FileNotFoundError):  # a storage that is away says nothing of who is there
        return None
    return found if isinstance(found, dict) and found.keys() >= _KEYS else None


def alive(entry: Entry) -> bool:
    """Whether the process that wrote an entry lives: of this machine by its number, of others while it beats.

    Machines are told apart by more than their names, of which two may have the same. Their clocks need not agree: what
    counts is that a beat has changed while this process looked, so what is seen for the first time lives.
    """
    if _is_here(entry):
        return _process(entry["pid"]) == entry["process"]
    return _silent_seconds(entry) < _STALE_SECONDS


def seems_gone(entry: Entry) -> bool:
    """Whether a living entry is of another machine and its last beat is long ago or to come, by the clock of this one:
    a dead process or one with another clock, which only looking for a while can tell apart.
    """
    return (
        alive(entry)
        and not _is_here(entry)
        and abs(time.time() - entry["beat"]) >= _STALE_SECONDS
        and not _seen[entry["token"]][2]
    )


_seen: dict[str, tuple[float, float, bool]] = {}  # by token: a beat, when it was first seen here, and if after another


def _is_here(entry: Entry) -> bool:
    return bool(entry["process"]) and entry["process"].rpartition(" ")[0] == _machine()


def _silent_seconds(entry: Entry) -> float:
    """For how long this process has seen no new beat of another one."""
    token, now = entry["token"], time.monotonic()
    if token not in _seen or _seen[token][0] != entry["beat"]:
        _seen[token] = (entry["beat"], now, token in _seen)
    return now - _seen[token][1]


def take(folder: Storage, name: str, entry: Entry, lives: Callable[[Entry], bool] = alive) -> Entry | None:
    """Create a file that nobody living has. Returns None when it is this entry's now, else the entry that has it.

    What the dead have left is taken over; of several that try at the same time one gets it. Raises WorkError when the
    file cannot be written.
    """
    if not folder.is_local:
        return _take_object(folder, name, entry, lives)
    path = Path(folder.path(name))
    draft = path.with_name(f".tmp-{path.stem}-{entry['token']}")
    folder.write_json(entry, draft.name)
    first: tuple[int, ...] | None = None  # what the file was like when it was first looked at, and since when
    since = time.monotonic()
    try:
        while not _linked(draft, path):  # a link is made or it is not, on NFS too
            other = read_entry(folder, name)
            if other is not None and lives(other):
                return other
            stamp = _stamp(path)
            if stamp != first:
                first, since = stamp, time.monotonic()
            if other is not None or (stamp and time.monotonic() - since > _BROKEN_SECONDS):
                _bury(folder, path, other, stamp)
            else:  # it is being written, or was removed this moment
                time.sleep(0.02)
    finally:
        draft.unlink(missing_ok=True)
    return None


def _linked(draft: Path, path: Path) -> bool:
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise WorkError(f"{path}: cannot be written ({error.strerror or error})") from error
        try:  # a file system without hard links
            with open(path, "xb") as file:
                file.write(draft.read_bytes())
        except FileExistsError:
            return False
    return True


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes with a file; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _bury(folder: Storage, path: Path, dead: Entry | None, stamp: tuple[int, ...] | None) -> None:
    """Remove a dead holder's file, or one that cannot be read (`dead` is None) and is as it was, and no other.

    Of several that try, each looks again while the rest wait.
    """
    with open(path.with_name(f".tmp-{path.stem}.lock"), "w") as lock:
        with suppress(OSError):  # without locks two that take over in the same millisecond may both believe it theirs
            fcntl.flock(lock, fcntl.LOCK_EX)
        now = read_entry(folder, path.name)
        if now["token"] == dead["token"] if now and dead else now is dead and _stamp(path) == stamp:
            path.unlink(missing_ok=True)


def _take_object(folder: Storage, name: str, entry: Entry, lives: Callable[[Entry], bool]) -> Entry | None:
    """The same where objects are written whole and cannot be created exclusively through Arrow.

    Everybody who wants it leaves a token of its own, looks whether anybody holds it, and waits a moment; the lowest
    token of those that are there wins. Tokens of the dead do not count.
    """

    def holder() -> Entry | None:
        found = read_entry(folder, name)
        return found if found and lives(found) else None

    if other := holder():
        return other
    wanted = folder.at(f"{name.removesuffix('.json')}-wanted")
    own = f"{entry['token']}.json"
    wanted.write_json(entry, own)
    try:
        time.sleep(_SETTLE_SECONDS)
        rivals = [r for n in wanted.names() if n != own and (r := read_entry(wanted, n)) and alive(r)]
        other = holder() or min((r for r in rivals if r["token"] < entry["token"]), key=lambda r: r["token"],
                                default=None)  # fmt: skip
        if other:
            return other
        folder.write_json(entry, name)
        time.sleep(_SETTLE_SECONDS)  # one that began to want it later sees the file before this token goes
        now = read_entry(folder, name)
        return None if now and now["token"] == entry["token"] else now or entry | {"token": ""}
    finally:
        wanted.remove(own)


def _process(pid: int) -> str:
    """What tells a process from a later one with its pid: machine and start time. Empty where there is no /proc."""
    if not (machine := _machine()):
        return ""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return f"{machine} gone"
    return f"{machine} {'gone' if stat[0] == 'Z' else stat[19]}"  # fields 3 and 22 of proc(5)


def _machine() -> str:
    """Where process numbers mean what they mean here: the boot, and the container's own numbers."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
