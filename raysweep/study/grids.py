"""Grids of checkpoints: one named checkpoint for each point, and the rows of the tables that they are."""

import itertools
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from raysweep.errors import RequestError
from raysweep.pretrain.spec import CheckpointSpec, Choose
from raysweep.study.load import explain


@dataclass(frozen=True)
class Expanded:
    """A checkpoint without a grid. `grid`: the one that it is a point of, where `choose` takes one of its points, by
    the protocol `choose_by` if it names one.
    """

    spec: CheckpointSpec
    grid: str = ""
    choose: Choose | None = None
    choose_by: str | None = None


def expand_grids(specs: dict[str, CheckpointSpec]) -> dict[str, Expanded]:
    """Every checkpoint by its name; that of a point is `NAME-KEYVALUE-KEYVALUE`.

    Raises RequestError for a value that the checkpoint cannot have, and for a point named as another checkpoint.
    """
    expanded: dict[str, Expanded] = {}
    for name, spec in specs.items():
        for point, own in _points(name, spec):
            if point in expanded or (point != name and point in specs):
                raise RequestError(f"checkpoints.{name}.grid: there are two checkpoints called {point}; rename one")
            expanded[point] = own
    return expanded


def _points(name: str, spec: CheckpointSpec) -> list[tuple[str, Expanded]]:
    if not spec.grid:
        return [(name, Expanded(spec))]
    found = []
    for values in itertools.product(*spec.grid.values()):
        point = dict(zip(spec.grid, values, strict=True))
        suffix = "-".join(f"{key}{value}" for key, value in point.items())
        own = _at_point(name, spec, point)
        found.append((f"{name}-{suffix}", Expanded(own, name if spec.choose else "", spec.choose, spec.choose_by)))
    return found


def _at_point(name: str, spec: CheckpointSpec, point: dict[str, Any]) -> CheckpointSpec:
    """The spec at one grid point; keys that are not the checkpoint's own are options of its method.

    What the study does not give stays so: a preset fills it in.
    """
    data = spec.model_dump(exclude={"grid", "choose", "choose_by"}, exclude_unset=True)
    for key, value in point.items():
        (data if key in CheckpointSpec.model_fields else data.setdefault("options", {}))[key] = value
    try:
        return CheckpointSpec.model_validate(data)
    except ValidationError as error:
        raise RequestError(f"checkpoints.{name}.grid: {explain(error, CheckpointSpec)}") from error
