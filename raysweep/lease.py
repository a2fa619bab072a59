"""One run of a study at a time: a file that says who runs it, kept fresh while they do."""

import json
import os
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
_BEAT_SECONDS = 5.0
_STALE_SECONDS = 60.0  # a holder that was silent for this long is dead


def holder(folder: Storage) -> dict[str, Any] | None:
    """Who runs the study now (host, pid, since, beat), or None when nobody does."""
    if not folder.exists(_FILE):
        return None
    try:
        lease = folder.read_json(_FILE)
    except (json.JSONDecodeError, FileNotFoundError):  # being replaced, or released this moment
        return None
    return lease if _alive(lease) else None


@contextmanager
def lease(folder: Storage) -> Iterator[None]:
    """Hold the study's lease during the block.

    A dead holder's lease is taken over: at once when its process was on this host, after 60 s of silence
    otherwise. Raises RequestError naming a living holder.
    """
    other = holder(folder)
    if other:
        raise RequestError(
            f"{folder.root}: this study is being run by process {other['pid']} on {other['host']} since "
            f"{other['since']}; wait for it, or stop it and run again"
        )
    mine = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process": _process(os.getpid()),
        "token": uuid.uuid4().hex,
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    stop = threading.Event()

    def beat() -> None:
        folder.write_json({**mine, "beat": time.time()}, _FILE)

    def keep() -> None:
        while not stop.wait(_BEAT_SECONDS):
            with suppress(WorkError):  # a full disk stops the run itself, with its own message
                beat()

    beat()
    if folder.read_json(_FILE)["token"] != mine["token"]:  # two took it over at once: the last writer holds it
        raise RequestError(f"{folder.root}: another run of this study has just started; wait for it")
    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        folder.remove(_FILE)


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
