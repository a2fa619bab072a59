"""Paths of this machine: where an address of a storage would not do, and the folder that raysweep keeps its own in."""

import os
import re
from pathlib import Path

from raysweep.addresses import at_home, is_address, locate, shown
from raysweep.errors import RequestError

_ONE_SLASH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)")  # what pathlib makes of an address


def local_path(path: str | Path, what: str) -> Path:
    """`path`, or the path that a file:// address means.

    Raises RequestError, which begins with `what`, for an address of another storage: as a path it would name a folder
    called `s3:`, and be made.
    """
    text = str(path)
    if isinstance(path, Path) and _ONE_SLASH.match(text):
        text = _ONE_SLASH.sub(lambda found: f"{found[1]}://" + "/" * (found[1] == "file"), text, count=1)
    if not is_address(text):
        return Path(path)
    if text.lower().startswith("file:"):
        return Path(locate(text)[1])
    raise RequestError(f"{what} {shown(text)}: is an address, and this wants a path; write one of this machine")


def user_folder() -> Path:
    """What is kept between studies, such as accepted licences: `~/.raysweep`, or RAYSWEEP_HOME.

    Raises RequestError where that is an address.
    """
    return at_home(local_path(os.environ.get("RAYSWEEP_HOME") or "~/.raysweep", "RAYSWEEP_HOME"))
