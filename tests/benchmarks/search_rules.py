"""What a search's rules gain on surfaces of real cells: settings trained once, judged as often as one likes."""

import itertools
import json
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from raysweep.randomness import generator
from raysweep.sweep.early import should_stop
from raysweep.sweep.history import TrialRecord
from raysweep.sweep.objective import best_evaluation, gain
from raysweep.sweep.points import place_of, uniform, value_at
from raysweep.sweep.sampler import propose
from raysweep.sweep.space import default_of
from raysweep.transfer.spec import Select, TransferSpec
from tests.benchmarks.search_cells import REAL, Trainer, real_cell

LEVELS = {"lr": 8, "head_lr_factor": 4, "augment": 2}  # of a surface: 64 settings
Evaluations = list[dict[str, Any]]
Surface = dict[str, Any]  # space, steps, points: levels and evaluations


def surface(folder: str, cell: str, steps: int) -> Surface:
    """The evaluations of every setting of a grid, each in the middle of its part of the space, the rest as default.

    All have the seed of one trial: they differ in nothing but the setting.
    """
    transfer = TransferSpec(trials=64, repeats=1, steps=steps, evaluations=5, batch=16, early_stopping="none",
                            val=REAL[cell].val)  # fmt: skip
    made, data = real_cell(Path(folder), cell, transfer)
    trainer, points = Trainer([made], transfer, data), []
    names = sorted(LEVELS)
    for number, levels in enumerate(itertools.product(*(range(LEVELS[name]) for name in names))):
        places = {name: (i + 0.5) / LEVELS[name] for name, i in zip(names, levels, strict=True)}
        chosen = {name: value_at(made.space[name], place) for name, place in places.items()}
        evaluations = trainer.curve(made.repeats[0], default_of(made.space) | chosen, 0)
        points.append({"levels": levels, "evaluations": evaluations})
        print(f"  {cell}: {number + 1} of 64", file=sys.stderr, flush=True)
    return {"space": {name: made.space[name] for name in names}, "steps": steps, "points": points}


def surfaces(train: Callable[..., Surface], file: str | None, *, short: bool) -> dict[str, Surface]:
    """Those of the demo's and of GlaS's cell: from a file where it has them, else trained and written there."""
    known = json.loads(Path(file).read_text()) if file and Path(file).exists() else {}
    missing = [cell for cell in REAL if cell not in known]
    with ThreadPoolExecutor(len(REAL)) as threads:  # each waits for a process that trains with one thread
        steps = [1 if short else REAL[cell].steps for cell in missing]
        waiting = {threads.submit(train, "surface", cell=cell, steps=n): cell
                   for cell, n in zip(missing, steps, strict=True)}  # fmt: skip
        for done in as_completed(waiting):
            known[waiting[done]] = done.result()
            if file:
                Path(file).write_text(json.dumps(known))
    return known


def judge_stopping(found: dict[str, Surface], *, short: bool) -> None:
    """27 settings of each surface, in an order by chance: stopped early, and trained to their end."""
    for cell, made in found.items():
        curves = [point["evaluations"] for point in made["points"]]
        for rule, select in itertools.product(("asha", "hyperband", "median"), ("val_metric", "val_loss")):
            shares, lost = [], []
            for seed in range(2 if short else 5):
                order = generator(seed, "order").permutation(len(curves))[: 6 if short else 27]
                share, less = _stopped(rule, [curves[i] for i in order], made["steps"], select)
                shares.append(share)
                lost.append(less)
            said = f"{cell}, {rule} by {select}"
            print(f"{said}: parts of the steps {_listed(shares, 2)}; best {select} worse by {_listed(lost, 3)}")
            if rule == "asha":
                _say("part of the steps, mean", statistics.mean(shares), 0.55)
                if select == "val_metric":
                    _say("best value worse by, mean", statistics.mean(lost), 0.01)


def _stopped(rule: Any, curves: list[Evaluations], steps: int, select: Select) -> tuple[float, float]:
    """Part of the steps used when settings come one after another, and how much worse is the best that ended."""
    trials: list[TrialRecord] = []
    for number, curve in enumerate(curves):
        trial = TrialRecord(number=number)
        trials.append(trial)
        for evaluation in curve:
            trial.evaluations.append(evaluation)
            if should_stop(rule, trial, trials, steps=steps, select=select):
                trial.status = "pruned"
                break
        else:
            trial.status = "done" if _ended(curve, steps) else "failed"
    used = sum(t.evaluations[-1]["step"] for t in trials if t.evaluations)
    ended = max(_value(t.evaluations, select, steps) for t in trials if t.status == "done")
    return used / (len(curves) * steps), max(_value(curve, select, steps) for curve in curves) - ended


def judge_sampler(found: dict[str, Surface], *, short: bool) -> None:
    """Searches of the surfaces: the distance of their best from the surface's best, against settings by chance.

    Twenty seeds are what is judged; what is noise among them is seen beside, from more.
    """
    for (cell, made), select in itertools.product(found.items(), ("val_metric", "val_loss")):
        values = {
            tuple(point["levels"]): _value(point["evaluations"], select, made["steps"]) for point in made["points"]
        }
        top = max(values.values())
        print(f"{cell} by {select}: values from {min(values.values()):.3f} to {top:.3f}, median "
              f"{statistics.median(values.values()):.3f}, the default's "
              f"{_at(values, made['space'], default_of(made['space'])):.3f}")  # fmt: skip
        for trials in (4, 8, 16):
            ours, chance = [], []
            for seed in range(2 if short else 100):
                ours.append(top - max(_searched(values, made["space"], trials, seed, select)))
                drawn = (uniform(made["space"], n, (seed, "chance")) for n in range(trials))
                chance.append(top - max(_at(values, made["space"], params) for params in drawn))
            a, b = statistics.mean(ours[:20]), statistics.mean(chance[:20])
            met = a <= b if trials == 4 else a < b
            more = np.subtract(ours, chance)
            print(f"  regret of {trials} trials: {a:.4f}, by chance {b:.4f} (target "
                  f"{'not worse' if trials == 4 else 'better'}, {'met' if met else 'MISSED'}); of {len(ours)} seeds "
                  f"{statistics.mean(ours):.4f} and {statistics.mean(chance):.4f}, difference {more.mean():+.4f} "
                  f"(standard error {more.std(ddof=1) / len(more) ** 0.5:.4f})")  # fmt: skip


def _searched(
    values: dict[tuple[int, ...], float], space: dict[str, Any], budget: int, seed: int, select: Select
) -> list[float]:
    trials: list[TrialRecord] = []
    found = []
    for number in range(budget):
        params = propose(space, trials, number=number, budget=budget, select=select, stream=(seed, "regret"))
        found.append(_at(values, space, params))
        value = gain(found[-1], select)
        evaluations = [{"step": 1, "train_loss": 0.0, "val_loss": value, "val_metric": value}]
        trials.append(TrialRecord(number=number, params=params, evaluations=evaluations, status="done", value=value))
    return found


def _at(values: dict[tuple[int, ...], float], space: dict[str, Any], params: dict[str, Any]) -> float:
    """That of the nearest point of the surface."""
    places = ((name, min(place_of(space[name], params[name]), 0.9999)) for name in sorted(LEVELS))
    return values[tuple(int(place * LEVELS[name]) for name, place in places)]


def _value(evaluations: Evaluations, select: Select, steps: int) -> float:
    """Where larger is better; of a training that diverged, worse than any guess."""
    best = best_evaluation(evaluations, select) if _ended(evaluations, steps) else None
    return gain(best[0], select) if best else {"val_metric": 0.0, "val_loss": -2.0}[select]


def _ended(evaluations: Evaluations, steps: int) -> bool:
    return bool(evaluations) and evaluations[-1]["step"] == steps


def _listed(values: list[float], digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)


def _say(what: str, value: float, target: float) -> None:
    print(f"  {what}: {value:.3f} (target <= {target:g}, {'met' if value <= target else 'MISSED'})")
