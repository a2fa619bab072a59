"""Whether test data can carry a verdict at all, decided from what was tested and never from how it came out.

Below these counts intervals are narrower than they claim, or what is left without a unit is another metric:

- FEWEST_UNITS test units, FEWEST_RUNS repeats (with 8 units and 3 repeats the intervals of `report.crossed` still
  cover what they should: tests/benchmarks/statistics.py).
- FEWEST_EFFECTIVE effective units, (sum w)^2 / sum w^2 with w the share of a unit in a metric that sums over samples
  (Kish, "Survey Sampling", 1965): pooled Dice of one large and nineteen small units is the Dice of one unit.
- FEWEST_OF_CLASS units in each class, for metrics that compare classes or average over them: without the only patient
  of a class its recall is not lower but gone.
"""

from collections.abc import Sequence

import numpy as np

from raysweep.transfer.metrics.metric import Metric, grouped
from raysweep.transfer.metrics.rows import Rows

FEWEST_UNITS = 8
FEWEST_EFFECTIVE = 6
FEWEST_OF_CLASS = 5
FEWEST_RUNS = 3
FEWEST_PRETRAININGS = 3  # with fewer, what is said holds for these weights, not for the method that made them


def lacks_data(tested: Rows, metric: Metric, groups: np.ndarray, classes: Sequence[str]) -> str:
    """What the test data of a cell lack, in words; empty when they are enough.

    tested: the predictions of one repeat. groups: (n_rows,) what is left out together, from 0: the unit, or the block
    of units. classes: their names, in the card's order.
    """
    n_units = int(groups.max()) + 1
    if n_units < FEWEST_UNITS:
        return f"{n_units} test unit{'s' * (n_units != 1)}: at least {FEWEST_UNITS} are needed"
    if metric.by_class:
        return _of_classes(tested, metric, groups, classes)
    if metric.level == "sample":
        effective = _effective(metric.mass(tested), groups)
        if effective < FEWEST_EFFECTIVE:
            return (
                f"few of the {n_units} test units hold most of what is counted: they weigh as {effective:.1f} equal "
                f"ones, at least {FEWEST_EFFECTIVE} are needed"
            )
    return ""


def lacks_runs(n_runs: int) -> str:
    """The same of the number of repeats."""
    if n_runs >= FEWEST_RUNS:
        return ""
    return f"{n_runs} repeat{'s' * (n_runs != 1)}: at least {FEWEST_RUNS} are needed"


def _effective(mass: np.ndarray, groups: np.ndarray) -> float:
    weight = np.bincount(groups, weights=mass)
    return float(weight.sum() ** 2 / (weight**2).sum()) if weight.any() else 0.0


def _of_classes(rows: Rows, metric: Metric, groups: np.ndarray, classes: Sequence[str]) -> str:
    """A class that no test unit has is in no value, so nothing of it can be lost."""
    held = metric.held(rows)
    for number, units in enumerate((grouped(held, groups, int(groups.max()) + 1) > 0).sum(0)):
        if 0 < units < FEWEST_OF_CLASS:
            name = classes[number] if number < len(classes) else str(number)
            has = f"{units} test unit has" if units == 1 else f"{units} test units have"
            return f"{has} class {name}: at least {FEWEST_OF_CLASS} are needed"
    if metric.level == "ranking":
        for fold in range(rows.n_folds):
            here = rows.folds == fold
            counts = (grouped(held[here], groups[here], int(groups.max()) + 1) > 0).sum(0)
            if (counts == 1).any():
                name = classes[int(np.flatnonzero(counts == 1)[0])]
                return f"in fold {fold} a single test unit has class {name}: without it the metric of the fold is gone"
    return ""
