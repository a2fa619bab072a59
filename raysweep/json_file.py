"""What JSON files of ours hold."""

import json
from typing import Any

from raysweep.errors import DamagedFileError


def parse_json(data: bytes, path: str) -> Any:
    """The value of a file. Raises DamagedFileError, which is a ValueError, for what is no JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(path) from error


def mapping(value: Any, path: str, *keys: str) -> dict[str, Any]:
    """The value of a file that holds a mapping with these keys. Raises DamagedFileError for another."""
    if not isinstance(value, dict) or not set(keys) <= value.keys():
        raise DamagedFileError(path)
    return value
