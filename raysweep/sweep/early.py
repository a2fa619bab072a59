"""Early stopping of trials within one repeat and fold: functions of its trials alone, nothing has to be remembered.

- `asha`: asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys
  2020) in its stopping form: a trial goes on past a rung when it is among the best 1/ETA of those that reached it.
- `hyperband`: the same in several brackets, each without one rung more and ranked for itself (Li et al., "Hyperband",
  JMLR 18, 2018; asynchronous as in the former), in case that early values mislead.
- `median`: a trial stops when its best value is below the median of the mean values, up to the same step, of trials
  that ran to their end (Golovin et al., "Google Vizier", KDD 2017, section 3.2).
"""

import math
from collections.abc import Iterable, Sequence

from raysweep.sweep.history import TrialRecord
from raysweep.sweep.objective import Evaluation, best_evaluation, gain
from raysweep.transfer.spec import EarlyStopping, Select

ETA = 3  # reduction factor; the paper uses 4, and 3 for short trials leaves one rung more
GRACE = 0.25  # part of the steps that every trial gets: earlier, a learning rate's warm-up is what is seen
ENDED = 3  # trials that must have run to their end before the median rule stops any

_RUNGS = tuple(GRACE * ETA**i for i in range(math.ceil(math.log(1 / GRACE, ETA))))  # parts of the steps


def should_stop(
    rule: EarlyStopping, trial: TrialRecord, trials: Iterable[TrialRecord], *, steps: int, select: Select
) -> bool:
    """Whether a trial that just reported should be stopped.

    `steps` are those of a whole trial; every trial evaluates after the same ones, in whatever distances. Rungs are at
    the first evaluations after 1/4 and 3/4 of the steps. A rung stops nobody before ETA trials have reached it, so the
    first two settings of a search always run to their end. Failed trials do not count.
    """
    now = trial.evaluations[-1]["step"]
    if rule == "none" or now >= steps:
        return False
    others = [t for t in trials if t.status != "failed" and t.number != trial.number]
    if rule == "median":
        return now >= GRACE * steps and _below_median(trial, [t for t in others if t.status == "done"], now, select)
    rungs = _RUNGS
    if rule == "hyperband":
        own = _bracket(trial.number)
        rungs = _RUNGS[own:]
        others = [t for t in others if _bracket(t.number) == own]
    before = trial.evaluations[-2]["step"] if len(trial.evaluations) > 1 else 0
    if not any(before < rung * steps <= now for rung in rungs):
        return False
    reached = [t for t in (trial, *others) if t.evaluations and t.evaluations[-1]["step"] >= now]
    if len(reached) < ETA:
        return False
    gains = sorted((_best(t, now, select) for t in reached), reverse=True)
    return _best(trial, now, select) < gains[len(reached) // ETA - 1]


def _bracket(number: int) -> int:
    """How many rungs a trial is spared: each bracket has its share of the trials, dealt out as evenly as can be.

    Shares are Hyperband's numbers of configurations (algorithm 1, line 2): ceil((s_max + 1) / (s + 1) * ETA^s) for a
    bracket of s rungs.
    """
    most = len(_RUNGS)
    shares = [math.ceil((most + 1) / (s + 1) * ETA**s) for s in range(most, -1, -1)]
    dealt = [0] * len(shares)
    bracket = 0
    for n in range(number % sum(shares) + 1):
        bracket = max(range(len(shares)), key=lambda b: (shares[b] / sum(shares) * (n + 1) - dealt[b], -b))
        dealt[bracket] += 1
    return bracket


def _below_median(trial: TrialRecord, ended: Sequence[TrialRecord], step: int, select: Select) -> bool:
    means = sorted(m for t in ended if (m := _mean(t, step, select)) is not None)
    if len(means) < ENDED:
        return False
    middle = len(means) // 2
    median = means[middle] if len(means) % 2 else (means[middle - 1] + means[middle]) / 2
    return _best(trial, step, select) < median


def _until(trial: TrialRecord, step: int) -> list[Evaluation]:
    return [e for e in trial.evaluations if e["step"] <= step]


def _best(trial: TrialRecord, step: int, select: Select) -> float:
    best = best_evaluation(_until(trial, step), select)
    return float("-inf") if best is None else gain(best[0], select)


def _mean(trial: TrialRecord, step: int, select: Select) -> float | None:
    key = "val_loss" if select == "val_loss" else "val_metric"
    values = [gain(e[key], select) for e in _until(trial, step) if math.isfinite(e[key])]
    return sum(values) / len(values) if values else None
