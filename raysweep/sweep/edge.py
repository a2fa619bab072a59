"""Which values of a setting lie at the edge of their range: a better one may lie beyond."""

from collections.abc import Mapping
from typing import Any

from raysweep.sweep.points import place_of
from raysweep.transfer.protocol import get_protocol

_WIDTH = 0.05  # part of a range, or of its logarithm, at each end


def at_edge(protocol: str, kind: str, space: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """Names of the settings in `params` whose value lies within 5 % of an end of their range, sorted.

    Of a choice that is the smallest or largest of three or more numbers. An end beyond which the protocol takes no
    value, such as no dropout at all, is none.
    """
    fields = get_protocol(protocol).settings(kind).model_fields
    found = []
    for name, value in sorted(params.items()):
        entry = space.get(name)
        if not isinstance(entry, Mapping) or "type" not in entry:  # a constant, or the path of a frozen protocol
            continue
        if entry["type"] == "categorical":
            values = entry["values"]
            numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
            if not numbers or len(values) < 3:
                continue
            low, high = min(values), max(values)
            lower, upper = value == low, value == high
        else:
            low, high = entry["low"], entry["high"]
            place = place_of(entry, value)
            lower, upper = place < _WIDTH or value == low, place > 1 - _WIDTH or value == high
        least, most = _bounds(fields[name]) if name in fields else (None, None)
        if (lower and low != least) or (upper and high != most):
            found.append(name)
    return found


def _bounds(field: Any) -> tuple[float | None, float | None]:
    """The smallest and largest value that a protocol's setting takes, where it says so."""
    least = [v for m in field.metadata for v in (getattr(m, "ge", None), getattr(m, "gt", None)) if v is not None]
    most = [v for m in field.metadata for v in (getattr(m, "le", None), getattr(m, "lt", None)) if v is not None]
    return least[0] if least else None, most[0] if most else None
