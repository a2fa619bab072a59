"""The next setting by CMA-ES (Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cmaes
import numpy as np

from raysweep.randomness import Part, torch_seed
from raysweep.sweep.history import TrialRecord
from raysweep.sweep.objective import gain
from raysweep.sweep.points import at, place_of
from raysweep.sweep.space import ranges_of
from raysweep.transfer.spec import Select

_WIDTH = 0.2  # standard deviation of the first generation, as a part of each range


def evolve(
    space: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    *,
    number: int,
    first: int,
    budget: int,
    select: Select,
    stream: tuple[Part, ...],
) -> dict[str, Any]:
    """Parameters of trial `number` of `budget`; the trials before number `first` were start-up settings.

    The search runs in the unit cube, each range one axis of it (a choice's values have equal shares). It begins at the
    best start-up setting. A generation that has been tried to its end moves it on; its trials are asked for again here
    in their order, so that all is a function of `trials`. Stopped trials count with what they had reached, failed and
    running ones as the worst. A generation is at most a fifth of the trials to come, and 4 at least.
    """
    names = ranges_of(space)
    if not names:
        return at(space, [])
    middle = _best_place(space, names, [t for t in trials if t.number < first], select)
    usual = 4 + int(3 * math.log(len(names)))  # Hansen, table 1
    optimiser = cmaes.CMA(
        np.array(middle if len(names) > 1 else [*middle, 0.5]),  # the library takes two axes at least
        _WIDTH,
        bounds=np.array([[0.0, 1.0]] * max(2, len(names))),
        seed=torch_seed(*stream, "cmaes"),
        population_size=min(usual, max(4, (budget - first) // 5)),
    )
    known = {t.number: t for t in trials}
    asked: list[tuple[np.ndarray, float]] = []
    for earlier in range(first, number):
        trial = known.get(earlier)
        value = -math.inf if trial is None or trial.value is None else gain(trial.value, select)
        asked.append((optimiser.ask(), value))
        if len(asked) == optimiser.population_size:
            ranked = sorted(asked, key=lambda pair: -pair[1])  # the order of the values is all that matters
            optimiser.tell([(point, float(rank)) for rank, (point, _) in enumerate(ranked)])
            asked = []
    return at(space, np.clip(optimiser.ask(), 0.0, np.nextafter(1.0, 0.0))[: len(names)].tolist())


def _best_place(space: Mapping[str, Any], names: list[str], trials: list[TrialRecord], select: Select) -> list[float]:
    """Where the best of these lies; the middle of what it does not have."""
    valued = [(gain(t.value, select), -t.number, t.params) for t in trials if t.value is not None]
    params = max(valued, key=lambda found: found[:2])[2] if valued else {}
    return [place_of(space[name], params[name]) if name in params else 0.5 for name in names]
