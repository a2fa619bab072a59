"""Whether a setting that a journal names is one that its search could have tried."""

from collections.abc import Mapping
from typing import Any

_ROUNDING = 1e-9  # parts of a range: a logarithm and back


def misfit(space: Mapping[str, Any], params: Any) -> str:
    """What of a setting is not of the space, in words; empty where it fits.

    A journal in a bucket may have been written by anybody. `space` is in canonical form, and settings that are there
    only sometimes may be missing.
    """
    if not isinstance(params, Mapping):
        return "it is no setting"
    for name, value in params.items():
        if name not in space:
            return f"the search space has no {name}"
        if not _could_be(space[name], value):
            return f"{name} is {value!r:.40}, which the search space does not allow"
    return ""


def _could_be(entry: Any, value: Any) -> bool:
    if not isinstance(entry, Mapping):
        return bool(value == entry)
    if entry["type"] == "categorical":
        return repr(value) in map(repr, entry["values"])
    if isinstance(value, bool) or not isinstance(value, int if entry["type"] == "int" else int | float):
        return False
    slack = _ROUNDING * (entry["high"] - entry["low"])
    return bool(entry["low"] - slack <= value <= entry["high"] + slack)
