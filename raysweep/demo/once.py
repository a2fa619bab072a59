"""Make a folder whole or not at all, and not again when it is there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raysweep.errors import RequestError

_MARKER = "made-by-raysweep-demo.json"


def make_once(folder: Path, parameters: dict[str, Any], write: Callable[[Path], None]) -> bool:
    """Let `write` fill a new folder and give it its name when it is complete.

    A folder that was made with the same parameters stays as it is; one made with others is replaced.
    Returns whether anything was written. Raises RequestError when the folder holds something else.
    """
    marker = folder / _MARKER
    if marker.is_file():
        if json.loads(marker.read_text()) == parameters:
            return False
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(f"{folder}: holds something that raysweep demo did not make, name another folder")
    temporary, old = folder.with_name(f".tmp-{folder.name}"), folder.with_name(f".old-{folder.name}")
    for leftover in (temporary, old):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    write(temporary)
    (temporary / _MARKER).write_text(json.dumps(parameters, indent=2) + "\n")
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return True
