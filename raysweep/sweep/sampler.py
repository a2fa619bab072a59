"""The next setting of a search, as a function of the settings tried so far."""

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial
from scipy.stats import qmc

from raysweep.randomness import Part, torch_seed
from raysweep.sweep.history import TrialRecord
from raysweep.sweep.objective import direction
from raysweep.sweep.space import default_of, distributions, suggest
from raysweep.transfer.spec import Select

optuna.logging.set_verbosity(optuna.logging.WARNING)

_STATES = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "asked": TrialState.RUNNING}


def startup_trials(trials: int) -> int:
    """How many of a repeat's trials are chosen before TPE takes over: the space's default, then points spread evenly.

    About half of the budget, at least 6 and at most 10 (Optuna's default): all of 4, 6 of 8 or 12, 10 of 24 or 50. TPE
    needs a handful of results to tell good from bad.
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

    Trial 0 is the space's default, trials up to `startup_trials(budget)` are points of a scrambled Sobol sequence, and
    from then on TPE chooses. The Optuna study is built anew from `trials` each time, so that a search that was killed
    and replayed cannot differ from one that was not. Stopped trials count as pruned, failed ones not at all, running
    ones (`parallel_per_repeat` above 1) as bad (the constant liar). `stream` names the random numbers; it holds neither
    checkpoint nor task, fold or fraction, so that these have their start-up settings in common.
    """
    if number == 0:
        return default_of(space)
    if number < startup_trials(budget):
        return _sobol(space, number - 1, stream)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=torch_seed(*stream, "tpe", number), n_startup_trials=1, multivariate=True, constant_liar=True
        )
    study = optuna.create_study(direction=direction(select), sampler=sampler)
    ranges = distributions(space)
    study.add_trials([_frozen(t, ranges, select) for t in trials if t.status in _STATES])
    return suggest(study.ask(), space)


def _sobol(space: Mapping[str, Any], point: int, stream: tuple[Part, ...]) -> dict[str, Any]:
    """A point of the sequence by its index: more trials change none of those before them."""
    names = [name for name in sorted(space) if isinstance(space[name], Mapping)]
    found = dict(space)
    if names:
        sequence = qmc.Sobol(len(names), scramble=True, rng=torch_seed(*stream, "sobol"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # balance of 2^n points: not what they are here for
            if point:
                sequence.fast_forward(point)
            place = sequence.random(1)[0]
        found |= {name: _at(space[name], float(u)) for name, u in zip(names, place, strict=True)}
    return {name: found[name] for name in sorted(found)}


def _at(entry: Mapping[str, Any], u: float) -> Any:
    """The value at the part `u`, in [0, 1), of an entry's range."""
    if entry["type"] == "categorical":
        return entry["values"][int(u * len(entry["values"]))]
    low, high = entry["low"], entry["high"]
    if entry["type"] == "int":  # every whole number has an equal share: of the range, or of its logarithm
        low, high = low - 0.5, high + 0.5
    value = math.exp(math.log(low) + u * math.log(high / low)) if entry["log"] else low + u * (high - low)
    value = round(value) if entry["type"] == "int" else value
    return min(max(value, entry["low"]), entry["high"])  # a logarithm and back can end just outside


def _frozen(trial: TrialRecord, ranges: dict[str, Any], select: Select) -> optuna.trial.FrozenTrial:
    key = "val_loss" if select == "val_loss" else "val_metric"
    return create_trial(
        state=_STATES[trial.status],
        value=trial.value if trial.status == "done" else None,
        params={name: trial.params[name] for name in ranges},
        distributions=ranges,
        intermediate_values={e["step"]: e[key] for e in trial.evaluations},
    )
