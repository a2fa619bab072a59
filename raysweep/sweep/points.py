"""Points of a search space, as a function of where they lie in it: a low-discrepancy sequence, chance, and a grid."""

import functools
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raysweep.errors import RequestError
from raysweep.randomness import Part, generator, torch_seed
from raysweep.sweep.space import default_of, present, ranges_of

GRID_POINTS = 4  # of a range; of a choice, all
_MOST_POINTS = 100_000  # of a grid: a list of them is made

Space = Mapping[str, Any]


def sobol(space: Space, point: int, stream: tuple[Part, ...]) -> dict[str, Any]:
    """A point of a scrambled Sobol sequence by its index: more trials change none of those before them."""
    names = ranges_of(space)
    if not names:
        return at(space, [])
    n = 16
    while n <= point:
        n *= 2
    return at(space, _sequence(len(names), torch_seed(*stream, "sobol"), n)[point])


@functools.lru_cache(maxsize=64)
def _sequence(axes: int, seed: int, n: int) -> list[list[float]]:
    """The first points, which a repeat's cells have in common."""
    from scipy.stats import qmc  # takes most of a second

    return qmc.Sobol(axes, scramble=True, rng=seed).random(n).tolist()


def uniform(space: Space, number: int, stream: tuple[Part, ...]) -> dict[str, Any]:
    """A point by chance, the same for the same number."""
    return at(space, generator(*stream, "random", number).random(len(ranges_of(space))).tolist())


def at(space: Space, places: Sequence[float]) -> dict[str, Any]:
    """The point whose ranges are at these parts, each in [0, 1), of their width; in the order of `ranges_of`.

    What is not there, given the rest (`when`), is left out.
    """
    drawn = {name: value_at(space[name], float(u)) for name, u in zip(ranges_of(space), places, strict=True)}
    return present(space, dict(space) | drawn)


def value_at(entry: Mapping[str, Any], u: float) -> Any:
    """The value at the part `u`, in [0, 1), of an entry's range."""
    if entry["type"] == "categorical":
        return entry["values"][int(u * len(entry["values"]))]
    low, high = _ends(entry)
    value = math.exp(math.log(low) + u * math.log(high / low)) if entry["log"] else low + u * (high - low)
    value = round(value) if entry["type"] == "int" else value
    return min(max(value, entry["low"]), entry["high"])  # a logarithm and back can end just outside


def place_of(entry: Mapping[str, Any], value: Any) -> float:
    """The part of an entry's range where a value lies; the middle of its share where several parts give it."""
    if entry["type"] == "categorical":
        return ([repr(v) for v in entry["values"]].index(repr(value)) + 0.5) / len(entry["values"])
    low, high = _ends(entry)
    return math.log(value / low) / math.log(high / low) if entry["log"] else (value - low) / (high - low)


def _ends(entry: Mapping[str, Any]) -> tuple[float, float]:
    """Of a range. Every whole number has an equal share: of the range, or of its logarithm."""
    wider = 0.5 if entry["type"] == "int" else 0.0
    return entry["low"] - wider, entry["high"] + wider


def grid_point(space: Space, number: int, stream: tuple[Part, ...]) -> dict[str, Any]:
    """Point `number` of the grid: the default first, then the others in an order by chance.

    IndexError after the last one.
    """
    points = _grid(json.dumps(space, sort_keys=True))
    if number == 0:
        return dict(points[0])
    return dict(points[1 + int(generator(*stream, "grid").permutation(len(points) - 1)[number - 1])])


def grid_size(space: Space) -> int:
    """How many points the grid of a space has, its default among them.

    RequestError when there are more than 100,000.
    """
    return len(_grid(json.dumps(space, sort_keys=True)))


@functools.lru_cache(maxsize=16)
def _grid(space_json: str) -> list[dict[str, Any]]:
    """All points, each once, the default first: every value of a choice, GRID_POINTS values of a range."""
    space = json.loads(space_json)
    names = ranges_of(space)
    values = [_marks(space[name]) for name in names]
    if math.prod(map(len, values)) > _MOST_POINTS:
        raise RequestError(
            f"transfer.sampler: a grid of {', '.join(names)} has more than {_MOST_POINTS:,} points; fix some of them "
            "in the search space, or choose another sampler"
        )
    made = (present(space, space | dict(zip(names, point, strict=True))) for point in itertools.product(*values))
    return list(_once([default_of(space), *made]))


def _marks(entry: Mapping[str, Any]) -> list[Any]:
    """The values of a range that a grid has: evenly spread, or over its logarithm, from end to end."""
    if entry["type"] == "categorical":
        return list(entry["values"])
    low, high = entry["low"], entry["high"]
    if entry["type"] == "int" and high - low < GRID_POINTS:
        return list(range(low, high + 1))
    inner = [i / (GRID_POINTS - 1) for i in range(1, GRID_POINTS - 1)]
    found = [math.exp(math.log(low) + u * math.log(high / low)) if entry["log"] else low + u * (high - low)
             for u in inner]  # fmt: skip
    if entry["type"] == "int":
        found = [round(value) for value in found]
    return list(dict.fromkeys([low, *found, high]))


def _once(points: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    seen = set()
    for point in points:
        key = json.dumps(point, sort_keys=True)
        if key not in seen:
            seen.add(key)
            yield point
