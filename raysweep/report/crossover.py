"""From how many labels on a checkpoint and the baseline are equal within the margin.

Equivalence is tested from the most labels downwards at alpha, until it first fails: the last success is an upper bound
of the crossover. Superiority by more than the margin is tested from the fewest labels upwards: the last success is a
lower bound. Over curves each is corrected by Holm's method (`chains`). Where the true curves come within the margin at
a number of labels, the upper bound lies below it with probability at most alpha, and the lower bound at or above it
likewise; neither needs a bootstrap of curves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from raysweep.report.chains import chained
from raysweep.report.intervals import Difference


@dataclass(frozen=True)
class Crossover:
    """Places on a curve: equal within the margin from `equal_from` on, better by more than it up to `better_to`.

    None: not reached, nowhere found.
    """

    equal_from: int | None
    better_to: int | None


def crossovers(curves: Sequence[Sequence[Difference | None]], *, alpha: float, margin: float) -> list[Crossover]:
    """Of each curve, its differences to the baseline in ascending order of labels; a margin of 0 has no crossover."""
    if not curves or margin <= 0:
        return [Crossover(None, None) for _ in curves]
    equal = chained([[d.p_equal if d else None for d in reversed(curve)] for curve in curves])
    above = chained([[d.p_above if d else None for d in curve] for curve in curves])
    out = []
    for curve, down, up in zip(curves, equal, above, strict=True):
        fell, rose = _leading(down, alpha), _leading(up, alpha)
        out.append(Crossover(len(curve) - fell if fell else None, rose - 1 if rose else None))
    return out


def _leading(p: Sequence[float | None], alpha: float) -> int:
    """How many of the first are below alpha."""
    for i, value in enumerate(p):
        if value is None or value >= alpha:
            return i
    return len(p)
