"""Early stopping of trials within one repeat and fold.

Asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020) in its
stopping form: a trial goes on past a rung when it is among the best 1/ETA of the trials that have reached it.
"""

from collections.abc import Iterable, Sequence

from raysweep.sweep.history import TrialRecord
from raysweep.sweep.objective import best_evaluation, gain
from raysweep.transfer.spec import Select

ETA = 3  # reduction factor; the paper uses 4, and 3 for short trials leaves one rung more


def should_stop(trial: TrialRecord, trials: Iterable[TrialRecord], evaluations: int, select: Select) -> bool:
    """Whether a trial that just reported should be stopped.

    Rungs are after 1, 3, 9, ... of the trial's `evaluations`, the last one excepted. A rung stops nobody before ETA
    trials have reached it, so the first two settings of a search always run to their end. Failed trials do not
    count. A function of the trials alone: nothing else has to be remembered or rebuilt.
    """
    rung = len(trial.evaluations)
    if rung >= evaluations or not _is_rung(rung):
        return False
    own = _gain(trial, rung, select)
    reached = [t for t in trials if t.status != "failed" and len(t.evaluations) >= rung]
    if len(reached) < ETA:
        return False
    gains = sorted((_gain(t, rung, select) for t in reached), reverse=True)
    return own < gains[len(reached) // ETA - 1]


def _is_rung(evaluation: int) -> bool:
    rung = 1
    while rung < evaluation:
        rung *= ETA
    return rung == evaluation


def _gain(trial: TrialRecord, rung: int, select: Select) -> float:
    first: Sequence = trial.evaluations[:rung]
    best = best_evaluation(first, select)
    return float("-inf") if best is None else gain(best[0], select)
