"""What a study can decide before it is run: the smallest difference that its test units and repeats find.

The variance components of a paired difference (`report.crossed`) give the mean squares that a study of n units and S
repeats is expected to have, MSu = rest + S unit, MSs = rest + n seed, MSe = rest, and these the standard error and the
degrees of freedom of its intervals, by the same formulas. Power is 80 %.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy.special import stdtrit

from raysweep.report.crossed import POWER, Crossed, MeanSquares, plain
from raysweep.storage import Storage


@dataclass(frozen=True)
class Components:
    """Standard deviations of a paired difference: seed, of a repeat over all units; unit, of a unit over all repeats;
    rest, of one unit in one repeat beyond these. In the metric's own units. source: where they are from, in words."""

    seed: float
    unit: float
    rest: float
    source: str


# Classification: balanced accuracy of GlaS grades, 16 patients, 3 repeats, linear probes of ImageNet's weights against
# the same trained on by BYOL, as this package measured them (unit 0.20 at 30 % and 0.24 at 100 % of the labels, rest
# 0.18, no spread of repeats); a repeat's 0.03 is that of fine-tuned features, 0.021 for one checkpoint, times sqrt(2).
# Segmentation: Dice of the demo's drawn glands, fine-tuned, 24 images, 3 repeats, mean of two checkpoints (against a
# random init) at two fractions.
ASSUMED: Mapping[str, Components] = {
    "classification": Components(0.03, 0.22, 0.18, "assumed, as measured on grades of GlaS"),
    "segmentation": Components(0.05, 0.04, 0.08, "assumed, as measured on the demo's glands"),
}


@dataclass(frozen=True)
class Power:
    """smallest: the true difference that is found with a power of 80 %. equal: the margin within which two checkpoints
    without any difference are shown to be equal, with the same power. repeats_first: more units would not show a
    difference of the margin, as repeats differ too much."""

    smallest: float
    equal: float
    repeats_first: bool


def power_of(
    found: Components, *, n_units: int, n_repeats: int, alpha: float, margin: float, comparisons: int, curves: int
) -> Power:
    """Of a study of n_units test units and n_repeats repeats, at least 2 of each.

    comparisons: in the task's family, which the smallest difference is corrected for (Bonferroni, somewhat more than
    the report's own correction takes). curves: checkpoints beside the baseline, over which equality is corrected.
    """
    seed, unit, rest = found.seed**2, found.unit**2, found.rest**2
    expected = MeanSquares(np.array(rest + n_repeats * unit), np.array(rest + n_units * seed * (n_repeats > 1)),
                           np.array(rest), n_units, n_repeats)  # fmt: skip
    se, df = (float(x) for x in plain(expected))
    study = Crossed(0.0, se, df, seed, unit, rest, n_units, n_repeats, n_repeats)
    # two one-sided tests of a true difference of 0 both succeed in 80 %: each fails in 10 %
    equal = (stdtrit(df, 1 - alpha / curves) + stdtrit(df, (1 + POWER) / 2)) * se
    return Power(study.smallest_detectable(alpha, comparisons), float(equal), study.units_cannot_settle(margin))


def earlier_components(home: Storage, task: str, metric: str) -> Components | None:
    """From the report that lies in a study's folder: means over the primary comparisons of a task at each fraction.

    None where there is none, or nothing was tested with three repeats or more.
    """
    if not home.exists("report", "tables", "differences.csv"):
        return None
    text = home.read_bytes("report", "tables", "differences.csv").decode()
    parts = [
        _components(row)
        for row in csv.DictReader(io.StringIO(text))
        if (row["task"], row["test set"], row["metric"]) == (task, task, metric)
        and row["p corrected"] and row["fraction"] and row["SE"]
    ]  # fmt: skip
    if not parts:
        return None
    seed, unit, rest = (fmean(part[i] for part in parts) ** 0.5 for i in range(3))
    count = f"{len(parts)} comparison{'s' * (len(parts) != 1)}"
    return Components(seed, unit, rest, f"measured in {count} of the report that is there")


def _components(row: Mapping[str, str]) -> tuple[float, float, float]:
    """Variances. The rest is what W = n S SE^2 has beyond the two others: W = rest + S unit + n seed."""
    n, s = int(row["test units"]), int(row["repeats"])
    seed, unit, se = (float(row[name]) ** 2 for name in ("seed sd", "unit sd", "SE"))
    return seed, unit, max(0.0, n * s * se - s * unit - n * seed)
