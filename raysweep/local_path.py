"""Paths of this machine: where an address of a storage would not do, and the folder that raysweep keeps its own in."""

import os
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from raysweep.addresses import at_home, is_address, locate, possible, shown
from raysweep.errors import RequestError, WorkError

_ONE_SLASH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)")  # what pathlib makes of an address


def local_path(path: str | Path, what: str) -> Path:
    """`path`, with a `~` that no shell has replaced (`--out=~/x`) as the user's folder; or that of a file:// address.

    Raises RequestError, which begins with `what`, for an address of another storage: as a path it would name a folder
    called `s3:`, and be made.
    """
    text = str(path)
    if isinstance(path, Path) and _ONE_SLASH.match(text):
        text = _ONE_SLASH.sub(lambda found: f"{found[1]}://" + "/" * (found[1] == "file"), text, count=1)
    if not is_address(text):
        possible(path)
        return at_home(path)
    if text.lower().startswith("file:"):
        return Path(locate(text)[1])
    raise RequestError(f"{what} {shown(text)}: is an address, and this wants a path; write one of this machine")


def own_temporary(what: str) -> Path:
    """`raysweep-WHAT-UID` in the folder of temporary files, made where it is missing. What is read there is believed,
    so nobody else may write there.

    Raises WorkError where it is no folder, another user's or open to others, and where nothing temporary can be kept.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"raysweep-{what}-{os.getuid()}"
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError as error:
        raise WorkError(f"{error.filename or 'TMPDIR'}: cannot be used ({error.strerror}); set TMPDIR") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise WorkError(f"{folder}: must be a folder that nobody but you can use; remove it, or set TMPDIR")
    return folder


def user_folder() -> Path:
    """What is kept between studies, such as accepted licences: `~/.raysweep`, or RAYSWEEP_HOME.

    Raises RequestError where that is an address.
    """
    return local_path(os.environ.get("RAYSWEEP_HOME") or "~/.raysweep", "RAYSWEEP_HOME")
