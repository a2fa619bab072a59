"""The next setting of a search, as a function of the settings tried so far."""

from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from raysweep.randomness import Part, torch_seed
from raysweep.sweep.history import TrialRecord
from raysweep.sweep.objective import Select, direction
from raysweep.sweep.space import distributions, suggest

optuna.logging.set_verbosity(optuna.logging.WARNING)

_STATES = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "asked": TrialState.RUNNING}


def startup_trials(trials: int) -> int:
    """How many of a cell's trials are drawn at random before TPE takes over.

    About half of the budget, at least 6 and at most 10 (Optuna's default): all of 4, 6 of 12, 10 of 24 or 50. TPE
    needs a handful of results to tell good from bad. Start-up settings are common to all checkpoints.
    """
    return min(trials, max(6, min(10, trials // 2)))


def propose(
    space: Mapping[str, Any],
    trials: Iterable[TrialRecord],
    *,
    number: int,
    budget: int,
    select: Select,
    stream: tuple[Part, ...],
) -> dict[str, Any]:
    """Parameters of trial `number`.

    The Optuna study is built anew from `trials` each time, so that a search that was killed and replayed cannot
    differ from one that was not. Stopped trials count as pruned, failed ones not at all, running ones
    (`parallel_per_cell` above 1) as mediocre. `stream` names the random numbers; it must not hold the checkpoint.
    """
    # random while number < startup; from then on TPE from the first result on
    random_until = number + 1 if number < startup_trials(budget) else 1
    sampler = optuna.samplers.TPESampler(seed=torch_seed(*stream, number), n_startup_trials=random_until)
    study = optuna.create_study(direction=direction(select), sampler=sampler)
    ranges = distributions(space)
    study.add_trials([_frozen(t, ranges, select) for t in trials if t.status in _STATES])
    return suggest(study.ask(), space)


def _frozen(trial: TrialRecord, ranges: dict[str, Any], select: Select) -> optuna.trial.FrozenTrial:
    key = "val_loss" if select == "val_loss" else "val_metric"
    return create_trial(
        state=_STATES[trial.status],
        value=trial.value if trial.status == "done" else None,
        params={name: trial.params[name] for name in ranges},
        distributions=ranges,
        intermediate_values={e["step"]: e[key] for e in trial.evaluations},
    )
