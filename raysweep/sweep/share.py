"""What early stopping is likely to leave of a search."""

import functools
import random

from raysweep.sweep.early import should_stop
from raysweep.sweep.history import TrialRecord
from raysweep.transfer.spec import EarlyStopping

_TRIALS, _MOST = 300, 60  # drawn in all, and of a search: with more of them the parts hardly change


@functools.cache
def expected_share(rule: EarlyStopping, trials: int, ends: tuple[int, ...]) -> tuple[float, float]:
    """Parts of the steps and of the evaluations of a search's trials that are done, where `rule` stops some of them.

    The mean over drawn searches, one trial after another. Every setting has a quality of its own that all its
    evaluations show: with noise, more or fewer are stopped.

    Args:
        trials: of one repeat in one fold.
        ends: the steps at which a trial is evaluated (`evaluation_steps`).
    """
    if rule == "none" or len(ends) < 2 or trials < 2:
        return 1.0, 1.0
    trials = min(trials, _MOST)
    searches = max(5, _TRIALS // trials)
    luck = random.Random(0)
    steps = looks = 0
    for _ in range(searches):
        records: list[TrialRecord] = []
        for number in range(trials):
            trial = TrialRecord(number=number)
            records.append(trial)
            quality = luck.random()
            for end in ends:
                trial.evaluations.append({"step": end, "val_metric": quality, "val_loss": -quality})
                looks += 1
                if should_stop(rule, trial, records, steps=ends[-1], select="val_metric"):
                    trial.status = "pruned"
                    break
            else:
                trial.status = "done"
            steps += trial.evaluations[-1]["step"]
    count = searches * trials
    return steps / (count * ends[-1]), looks / (count * len(ends))
