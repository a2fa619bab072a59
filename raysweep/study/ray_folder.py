"""Where a Ray of this machine keeps its sockets and logs: a folder whose path is short, that can be written."""

import os
import shutil
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from raysweep.errors import WorkError
from raysweep.progress import Progress

_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107  # of a path: sockaddr_un holds 104 or 108, and a null
_SESSION = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"  # the longest that Ray puts below it
_MOST_BYTES = _SOCKET_BYTES - len(_SESSION) - 1
_LEAST_FREE_MB = 200  # logs, and a little to spare; Ray hangs on a full disk


@contextmanager
def ray_folder(progress: Progress) -> Iterator[Path]:
    """A folder that Ray can use, in RAY_TMPDIR for the block: the one named there, TMPDIR, or a temporary one.

    A folder that was named and cannot be used is told with its reason. (Schedulers name folders whose paths are too
    long for sockets; the same folder of another user of the machine cannot be written.) Raises WorkError when none can
    be used.
    """
    before = os.environ.get("RAY_TMPDIR")
    folder = _found(progress)
    os.environ["RAY_TMPDIR"] = str(folder)
    try:
        yield folder
    finally:
        if before is None:
            del os.environ["RAY_TMPDIR"]
        else:
            os.environ["RAY_TMPDIR"] = before


def _found(progress: Progress) -> Path:
    named = {name: os.environ[name] for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)}
    problems: list[str] = []
    for name, path in [*named.items(), ("", "/tmp"), ("", "/var/tmp"), ("", "/dev/shm")]:
        base = Path(os.path.abspath(os.path.expanduser(path)))
        problem = _problem(base)
        if problem is None:
            if problems:
                progress.say(f"{problems[0]}; Ray uses {base}")
            return base
        problems.append(f"{name}{': ' * bool(name)}{base} {problem}")
        own = base / f"raysweep-{os.getuid()}"  # where `ray` below it is somebody else's
        if (base / "ray").exists() and _problem(own, private=True) is None:
            return own
    raise WorkError(
        f"there is no folder for Ray's sockets and logs ({'; '.join(problems)}); set RAY_TMPDIR to a folder that can "
        f"be written, with {_LEAST_FREE_MB} MB free and a path of at most {_MOST_BYTES} bytes"
    )


def _problem(base: Path, *, private: bool = False) -> str | None:
    """Why Ray could not use this folder; None: it can. What is missing is made, as Ray would."""
    if len(os.fsencode(base)) > _MOST_BYTES:
        return f"is too long for sockets ({len(os.fsencode(base))} bytes, {_MOST_BYTES} at most)"
    below = base / "ray"
    try:
        base.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
        if private and base.lstat().st_uid != os.getuid():
            return "is another user's"
        below.mkdir(exist_ok=True)
        probe = below / f".{uuid.uuid4().hex[:12]}"
        with socket.socket(socket.AF_UNIX) as tried:  # some file systems keep files, but no sockets
            try:
                tried.bind(str(probe))
            finally:
                with suppress(OSError):
                    probe.unlink()
        free = shutil.disk_usage(below).free
    except OSError as error:
        return f"cannot be used ({error.strerror or error})"
    if free < _LEAST_FREE_MB * 10**6:
        return f"has {free / 1e6:.0f} MB free, and Ray wants {_LEAST_FREE_MB}"
    return None
