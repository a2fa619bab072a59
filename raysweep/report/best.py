"""Which checkpoints may be the best: multiple comparisons with the best, and all pairs of a family.

Hsu, Ann. Stat. 12, 1984; for unequal variances and correlated estimates Edwards and Hsu, J. Am. Stat. Assoc. 78, 1983;
Hsu, "Multiple Comparisons", 1996, sec. 4.1. A checkpoint i is left out of the set when some j was found better than it:
(theta_j - theta_i) / SE_ij above a one-sided critical value that is simultaneous over all j (single step with i as the
control). Whichever checkpoint is truly the best, it is in the set with probability 1 - alpha at least.
"""

from collections.abc import Mapping

from raysweep.report.intervals import Difference
from raysweep.report.single_step import Family


def best_set(
    differences: Mapping[str, Mapping[str, Difference | None]], *, alpha: float, joint: bool = True
) -> tuple[str, ...]:
    """Names of the checkpoints that may be the best, the leading one first.

    differences: for each checkpoint its differences to every other one (own minus other). Empty when no pair could be
    tested; a checkpoint without any test stays in: nothing says that it is not the best. joint: whether the tests'
    correlation is that of `report.single_step`; else they are corrected as if they had none (Sidak).
    """
    if not any(d and d.p is not None for others in differences.values() for d in others.values()):
        return ()
    kept = []
    for name, others in differences.items():
        tests = [d if d and d.p is not None else None for d in others.values()]
        family = Family([d.contrast if d and joint else None for d in tests], one_sided=True)
        level = family.level(alpha)
        if all(d is None or d.test is None or d.test.p_above(0.0) < 1 - level for d in tests):
            kept.append(name)
    return tuple(sorted(kept, key=lambda name: -_lead(differences[name])))


def _lead(others: Mapping[str, Difference | None]) -> float:
    """The smallest difference to another checkpoint: largest for the one that leads."""
    return min((d.value for d in others.values() if d and d.value == d.value), default=float("-inf"))
