"""What JSON files of ours hold."""

import json
from typing import Any

from raysweep.errors import DamagedError


def parse_json(data: bytes, path: str) -> Any:
    """The value of a file. Raises DamagedError, which is a ValueError, for what is no JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedError(path) from error


def mapping(value: Any, path: str, *keys: str) -> dict[str, Any]:
    """The value of a file that holds a mapping with these keys. Raises DamagedError for another."""
    if not isinstance(value, dict) or not set(keys) <= value.keys():
        raise DamagedError(path)
    return value
