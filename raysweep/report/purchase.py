"""The next purchase: what would narrow an undecided interval most, from its variance components.

With n units, S repeats and the components of `report.crossed`, SE^2 = unit / n + between + rest / (n S), where
`between` is seed / S, or what groupings by pretraining add (twice the repeats are then twice the pretrainings too). Put
in with other n and S it says how wide the interval would be if the components stayed as they are, with the degrees of
freedom that such a study would have. What there is now is computed in the same way, and the actual half-width is
multiplied by the ratio, so that rules for small samples (which mean square is taken) cancel.

More labels change what is compared, and no component says what they do to its spread. Where a task has three label
counts or more, the slope of log(half-width) on log(labelled images), common to its checkpoints (least squares, an
intercept each), says it as far as one may go on along a straight line. More trials are left out: a repeat's search is
one of several things that differ between repeats, and journals do not tell its share of their spread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from raysweep.report.crossed import Crossed, MeanSquares, plain, satterthwaite
from raysweep.report.family import UNDECIDED
from raysweep.report.findings import Comparison, Estimate, TaskFindings

UNITS, REPEATS, LABELS = "test units", "repeats", "labelled images"
FEWEST_COUNTS = 3  # label counts that a slope needs
_TIMES = 2


@dataclass(frozen=True)
class Purchase:
    """What twice as much of something would do to the interval of one comparison.

    comparison: undecided; of its task the one that is nearest to a verdict. half: half the width of its simultaneous
    interval now. offers: what is bought, how much there would be of it, and half the width then, the narrowest first.
    with_pretrainings: the repeats come with twice the pretrainings.
    """

    comparison: Comparison
    half: float
    offers: tuple[tuple[str, int, float], ...]
    with_pretrainings: bool = False


def next_purchases(tasks: Sequence[TaskFindings], estimates: Mapping[str, Estimate]) -> list[Purchase]:
    """One for each task that has an undecided comparison with an interval, the one of the smallest corrected p."""
    out = []
    for found in tasks:
        open_ends = [c for c in found.comparisons if c.verdict and c.verdict.word == UNDECIDED and _half(c)]
        if open_ends:
            nearest = min(open_ends, key=lambda c: (c.verdict.p_corrected or 1.0) if c.verdict else 1.0)
            out.append(_offers(nearest, found, estimates))
    return out


def projected(found: Crossed, level: float, *, units: int, repeats: int) -> float:
    """Half the width of the t interval at 1 - level that a study with so many units and repeats would have.

    Its components are those of `found`.
    """
    if found.n_groups < found.n_runs:
        by_unit = found.unit / units + found.rest / (units * repeats)
        now = found.unit / found.n_units + found.rest / (found.n_units * found.n_runs)
        between = max(0.0, found.se**2 - now) * found.n_runs / repeats
        groups = max(2, round(found.n_groups * repeats / found.n_runs))
        parts = [np.array(by_unit), np.array(between)]
        se, df = np.sqrt(by_unit + between), satterthwaite(parts, [units - 1, groups - 1])
    else:
        rest = found.rest
        squares = MeanSquares(np.array(repeats * found.unit + rest), np.array(units * found.seed + rest),
                              np.array(rest), units, repeats)  # fmt: skip
        se, df = plain(squares)
    return float(stdtrit(df, 1 - level / 2) * se)


def _offers(c: Comparison, task: TaskFindings, estimates: Mapping[str, Estimate]) -> Purchase:
    found, half = c.difference.found if c.difference else None, _half(c)
    assert found
    level = 2 * float(stdtr(found.df, -half / found.se))  # that the family leaves this comparison
    n, s = found.n_units, found.n_runs
    now = projected(found, level, units=n, repeats=s)
    offers = [
        (UNITS, _TIMES * n, half * projected(found, level, units=_TIMES * n, repeats=s) / now),
        (REPEATS, _TIMES * s, half * projected(found, level, units=n, repeats=_TIMES * s) / now),
    ]
    slope, e = _slope(task, estimates), estimates.get(c.cell.key)
    if slope is not None and e:
        offers.append((LABELS, _TIMES * e.n_images, half * _TIMES**slope))
    offers.sort(key=lambda offer: offer[2])
    return Purchase(c, half, tuple(offers), found.n_groups < found.n_runs)


def _half(c: Comparison) -> float:
    """Half the width of the simultaneous interval; 0 where there is none."""
    v = c.verdict
    known = c.difference and c.difference.found and v and v.low is not None and v.high is not None
    return (v.high - v.low) / 2 if known and v and v.low is not None and v.high is not None else 0.0


def _slope(task: TaskFindings, estimates: Mapping[str, Estimate]) -> float | None:
    """Of log(half-width) on log(images) within checkpoints; None with too few label counts."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for c in task.comparisons:
        half, e = _half(c), estimates.get(c.cell.key)
        if half and e:
            curves.setdefault(c.cell.checkpoint, []).append((np.log(e.n_images), np.log(half)))
    centred = [np.array(own) - np.mean(own, axis=0) for own in curves.values() if len(own) >= FEWEST_COUNTS]
    if not centred:
        return None
    x, y = np.concatenate(centred).T
    return float(x @ y / (x @ x)) if x @ x > 0 else None
