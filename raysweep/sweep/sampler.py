"""The next setting of a search, as a function of the settings tried so far."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from raysweep.randomness import Part, torch_seed
from raysweep.sweep.history import TrialRecord
from raysweep.sweep.objective import direction
from raysweep.sweep.points import grid_point, grid_size, sobol, uniform
from raysweep.sweep.space import default_of, distributions, has_conditions, suggest
from raysweep.transfer.spec import Sampler, Select


def startup_trials(trials: int) -> int:
    """How many of a repeat's trials are chosen before the sampler takes over: the space's default, then points spread
    evenly.

    About half of the budget, at least 6 and at most 10 (Optuna's default): all of 4, 6 of 8 or 12, 10 of 24 or 50. TPE
    needs a handful of results to tell good from bad.
    """
    return min(trials, max(6, min(10, trials // 2)))


def trials_of(space: Mapping[str, Any], sampler: Sampler, trials: int) -> int:
    """How many settings a search of so many trials can try: a grid ends at its last point.

    RequestError for a grid that is too large.
    """
    return min(trials, grid_size(space)) if sampler == "grid" else trials


def propose(
    space: Mapping[str, Any],
    trials: Iterable[TrialRecord],
    *,
    number: int,
    budget: int,
    select: Select,
    stream: tuple[Part, ...],
    sampler: Sampler = "tpe",
) -> dict[str, Any]:
    """Parameters of trial `number`.

    Trial 0 is the space's default, trials up to `startup_trials(budget)` are points of a scrambled Sobol sequence, and
    from then on the sampler chooses; a grid is gone through from the beginning, its points in an order by chance.
    Whatever a sampler has learnt is learnt anew from `trials` each time, so that a search that was killed and replayed
    cannot differ from one that was not. For TPE stopped trials count as pruned, failed ones not at all, running ones
    (`parallel_per_repeat` above 1) as bad (the constant liar); for the Gaussian process stopped ones count with what
    they had reached, the others not. `stream` names the random numbers; it holds neither checkpoint nor task, fold or
    fraction, so that these have their start-up settings in common.
    """
    if sampler == "grid":
        return grid_point(space, number, stream)
    if number == 0:
        return default_of(space)
    startup = startup_trials(budget)
    if number < startup or sampler == "qmc":
        return sobol(space, number - 1, stream)
    if sampler == "random":
        return uniform(space, number, stream)
    if sampler == "cmaes":
        from raysweep.sweep.evolve import evolve

        return evolve(space, list(trials), number=number, first=startup, budget=budget, select=select, stream=stream)
    return _by_optuna(space, trials, sampler, select, torch_seed(*stream, sampler, number))


def _by_optuna(
    space: Mapping[str, Any], trials: Iterable[TrialRecord], sampler: Sampler, select: Select, seed: int
) -> dict[str, Any]:
    """A setting from a study that is built from the trials."""
    import optuna
    from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        chosen: BaseSampler
        if sampler == "gp":
            chosen = GPSampler(seed=seed, n_startup_trials=1, independent_sampler=RandomSampler(seed=seed))
        else:
            # `group`: parameters that exist only sometimes are modelled with those that exist with them
            chosen = TPESampler(seed=seed, n_startup_trials=1, multivariate=True, constant_liar=True,
                                group=has_conditions(space))  # fmt: skip
        study = optuna.create_study(direction=direction(select), sampler=chosen)
        ranges = distributions(space)
        known = [_frozen(t, ranges, select, sampler) for t in trials if t.status in ("done", "pruned", "asked")]
        study.add_trials([trial for trial in known if trial is not None])
        return suggest(study.ask(), space)


def _frozen(trial: TrialRecord, ranges: dict[str, Any], select: Select, sampler: Sampler) -> Any:
    """A trial as Optuna knows it; None when the sampler has no use for it."""
    from optuna.trial import TrialState, create_trial

    own = {name: trial.params[name] for name in ranges if name in trial.params}
    state = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "asked": TrialState.RUNNING}[trial.status]
    if sampler == "gp":
        if trial.value is None:
            return None
        state = TrialState.COMPLETE
    key = "val_loss" if select == "val_loss" else "val_metric"
    return create_trial(
        state=state,
        value=trial.value if state == TrialState.COMPLETE else None,
        params=own,
        distributions={name: ranges[name] for name in own},
        intermediate_values={e["step"]: e[key] for e in trial.evaluations},
    )
