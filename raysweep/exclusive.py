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
_STALE_SECONDS = 60.0  # a process of another host that was silent for this long is dead
_BROKEN_SECONDS = 5.0  # a file that nobody can read and that is this old was cut short by a crash
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
    except (ValueError, OSError):
        return None
    return found if isinstance(found, dict) and found.keys() >= _KEYS else None


def alive(entry: Entry) -> bool:
    """Whether the process that wrote an entry lives: of this host by its number, of others by its last beat."""
    here = entry["host"] == socket.gethostname()
    if here and entry["process"] and _process(entry["pid"]) != entry["process"]:
        return False
    return (here and bool(entry["process"])) or time.time() - entry["beat"] < _STALE_SECONDS


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
    try:
        while not _linked(draft, path):  # a link is made or it is not, on NFS too
            other = read_entry(folder, name)
            if other is not None and lives(other):
                return other
            if other is not None or _broken(path):
                _bury(folder, path, other)
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


def _bury(folder: Storage, path: Path, dead: Entry | None) -> None:
    """Remove a dead holder's file, or one that cannot be read (`dead` is None), and no other.

    Of several that try, each looks again while the rest wait.
    """
    with open(path.with_name(f".tmp-{path.stem}.lock"), "w") as lock:
        with suppress(OSError):  # without locks two that take over in the same millisecond may both believe it theirs
            fcntl.flock(lock, fcntl.LOCK_EX)
        now = read_entry(folder, path.name)
        if now["token"] == dead["token"] if now and dead else now is dead and _broken(path):
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
