"""What a search costs beside its trainings, and what its rules gain.

    python -m tests.benchmarks.search CASE [--pairs N] [--short]

Figures of time are medians of pairs in fresh processes, the two sides in turn, with an interval of at least 95 % by
order statistics; what can be counted is counted. Trainings are those of a tiny network on pictures of 32 px, nothing is
downloaded. `--short` makes every run as small as it can be, to see that a case works; its figures mean nothing.

| case | what | against |
|---|---|---|
| starts | ms of the driver's processor for a start, among 500, 2,000 and 10,000 lanes | 2 ms |
| tune | seconds a trial of nothing, from 1,000 trials to 4,000 | those from 200 to 1,000 |
| overhead | seconds a trial, 50 trials of a tiny model | the same trainings in a plain loop |
| tuners | 12 cells x 8 trials, two at once | 12 Tuners with OptunaSearch, one after another |
| asha | steps and best value of 27 settings, 5 seeds, stopped early | the same trained to their end |
| regret | best of 4, 8 and 16 trials on a surface of 64 settings, 20 seeds | random search |

Last figures (on two cores that others used heavily; the processor's time grows with that too):

| case | figure | target |
|---|---|---|
| starts, 500 / 2,000 / 10,000 lanes | 3.1 / 3.0 / 2.7 ms (3 runs each) | <= 2 ms: missed |
| of which choosing a lane | 0.14 / 0.18 / 0.19 ms | |
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from raysweep.sweep.early import should_stop
from raysweep.sweep.history import TrialRecord
from raysweep.sweep.objective import best_evaluation
from raysweep.sweep.points import place_of, uniform
from raysweep.sweep.sampler import propose
from tests.benchmarks import search_sides as sides
from tests.benchmarks.pairs import in_turn, run_command, tell

_SIDES: dict[str, Callable[..., dict[str, Any]]] = {
    side.__name__: side
    for side in (sides.starts, sides.tune, sides.overhead_search, sides.overhead_plain, sides.tuners_ours,
                 sides.tuners_peer, sides.curves, sides.surface)
}  # fmt: skip


class _Given(argparse.Namespace):
    pairs: int
    short: bool
    home: Path

    def run(self, side: str, *, folder: str = "", **keys: Any) -> dict[str, Any]:
        """What a side answers, from a fresh process and, unless it is named, in a fresh folder."""
        keys |= {"folder": folder or tempfile.mkdtemp(dir=self.home)}
        return run_command([sys.executable, "-m", "tests.benchmarks.search", "--side", side, json.dumps(keys)])


def _starts(given: _Given) -> None:
    for lanes in (20, 100) if given.short else (500, 2000, 10_000):
        made = [given.run("starts", lanes=lanes, rounds=min(400, 4 * lanes)) for _ in range(given.pairs)]
        first = made[0]
        print(f"starts among {lanes:,} lanes: {first['looked']:.1f} looks at a lane a start, {first['choosing_ms']:.2f}"
              f" ms to choose, {first['synced']:.1f} syncs of a journal to disk in all; lanes opened in "
              f"{first['opening_ms']:.2f} ms each; an actor is told of all repeats once, {first['bench_bytes']:.0f} "
              "bytes each")  # fmt: skip
        tell("ms a start", [side["ms"] for side in made], 2, most=True, unit=" ms")


def _tune(given: _Given) -> None:
    sizes = (20, 40, 80) if given.short else (200, 1000, 4000)
    each = []
    for _ in range(given.pairs):
        few, some, many = (given.run("tune", trials=n)["seconds"] for n in sizes)
        each.append(((some - few) / (sizes[1] - sizes[0]), (many - some) / (sizes[2] - sizes[1])))
    early, late = (statistics.median(pair[i] for pair in each) for i in (0, 1))
    print(f"tune: {early * 1e3:.1f} ms a trial from {sizes[0]} to {sizes[1]} trials, {late * 1e3:.1f} to {sizes[2]}")
    tell("ms of later trials, times those of earlier", [late / early for early, late in each], 1.2, most=True)


def _overhead(given: _Given) -> None:
    keys = {"trials": 4 if given.short else 50, "steps": 4 if given.short else 40}
    more = []
    for _ in range(given.pairs):
        folder = tempfile.mkdtemp(dir=given.home)  # the loop repeats the settings of the search's journal
        ours, plain = (given.run(f"overhead_{side}", folder=folder, **keys)["each"] for side in ("search", "plain"))
        print(f"overhead: {ours:.3f} s a trial, {plain:.3f} s in a plain loop")
        more.append(ours - plain)
    tell("seconds more a trial", more, 0.2, most=True, unit=" s")


def _tuners(given: _Given) -> None:
    keys = {"cells": 2, "trials": 2, "steps": 2} if given.short else {"cells": 12, "trials": 8, "steps": 40}
    made = in_turn(given.pairs, *(partial(given.run, f"tuners_{side}", **keys) for side in ("ours", "peer")))
    ours, peer = (statistics.median(pair[i]["seconds"] for pair in made) for i in (0, 1))
    print(f"tuners: {ours:.1f} s with all finals, {keys['cells']} Tuners {peer:.1f} s")
    tell("times faster", [peer["seconds"] / ours["seconds"] for ours, peer in made], 3)


def _asha(given: _Given) -> None:
    keys = {"settings": 6, "seeds": 2, "steps": 8} if given.short else {"settings": 27, "seeds": 5, "steps": 80}
    found = given.run("curves", **keys)["curves"]
    for rule in ("asha", "hyperband", "median"):
        shares, lost = [], []
        for curves in found:
            used, best = _stopped(rule, curves, keys["steps"])
            whole = [b[0] for curve in curves if (b := best_evaluation(curve, "val_metric"))]
            shares.append(used / (len(curves) * keys["steps"]))
            lost.append(max(whole) - best)
        print(f"{rule}: parts of the steps {', '.join(f'{s:.2f}' for s in shares)}; best value lower by "
              f"{', '.join(f'{x:.3f}' for x in lost)}")  # fmt: skip
        if rule == "asha":
            _say("part of the steps, mean", statistics.mean(shares), 0.55)
            _say("best value lower by, mean", statistics.mean(lost), 0.01)


def _stopped(rule: Any, curves: list, steps: int) -> tuple[int, float]:
    """Steps used, and the best value of those that trained to their end, when settings come one after another."""
    trials: list[TrialRecord] = []
    for number, curve in enumerate(curves):
        trial = TrialRecord(number=number)
        trials.append(trial)
        for evaluation in curve:
            trial.evaluations.append(evaluation)
            if should_stop(rule, trial, trials, steps=steps, select="val_metric"):
                trial.status = "pruned"
                break
        else:
            best = best_evaluation(trial.evaluations, "val_metric")
            trial.status, trial.value = ("done", best[0]) if best else ("failed", None)
    used = sum(t.evaluations[-1]["step"] for t in trials if t.evaluations)
    return used, max(t.value for t in trials if t.value is not None)


def _regret(given: _Given) -> None:
    found = given.run("surface", steps=4 if given.short else 60)["surface"]
    values = {tuple(point["levels"]): point["value"] for point in found}
    top = max(values.values())
    for trials in (4, 8, 16):
        seeds = range(2 if given.short else 20)
        ours = [top - max(_searched(values, trials, seed)) for seed in seeds]
        chance = [top - max(_value(values, uniform(sides.SPACE, n, (seed, "chance"))) for n in range(trials))
                  for seed in seeds]  # fmt: skip
        a, b = statistics.mean(ours), statistics.mean(chance)
        met = a <= b if trials == 4 else a < b
        print(f"regret of {trials} trials: {a:.4f}, random search {b:.4f} (of values up to {top:.3f}; target "
              f"{'not worse' if trials == 4 else 'better'}, {'met' if met else 'MISSED'})")  # fmt: skip


def _searched(values: dict[tuple[int, ...], float], budget: int, seed: int) -> list[float]:
    trials: list[TrialRecord] = []
    for number in range(budget):
        params = propose(
            sides.SPACE, trials, number=number, budget=budget, select="val_metric", stream=(seed, "regret")
        )
        value = _value(values, params)
        evaluations = [{"step": 1, "train_loss": 0.0, "val_loss": -value, "val_metric": value}]
        trials.append(TrialRecord(number=number, params=params, evaluations=evaluations, status="done", value=value))
    return [t.value for t in trials if t.value is not None]


def _value(values: dict[tuple[int, ...], float], params: dict[str, Any]) -> float:
    """That of the nearest point of the surface."""
    places = ((name, min(place_of(sides.SPACE[name], params[name]), 0.9999)) for name in sorted(sides.LEVELS))
    return values[tuple(int(place * sides.LEVELS[name]) for name, place in places)]


def _say(what: str, value: float, target: float) -> None:
    print(f"  {what}: {value:.3f} (target <= {target:g}, {'met' if value <= target else 'MISSED'})")


_CASES: dict[str, Callable[[_Given], None]] = {
    "starts": _starts, "tune": _tune, "overhead": _overhead, "tuners": _tuners, "asha": _asha, "regret": _regret,
}  # fmt: skip
_PAIRS = {"starts": 3, "tune": 1, "overhead": 5, "tuners": 5, "asha": 1, "regret": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", choices=_CASES)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--side", nargs=2, metavar=("SIDE", "KEYS"), help=argparse.SUPPRESS)
    given = parser.parse_args(namespace=_Given())
    if given.side:
        name, keys = given.side
        print(json.dumps(_SIDES[name](**json.loads(keys))))
        return
    if not given.case:
        parser.error("name a case")
    given.pairs = given.pairs or (1 if given.short else _PAIRS[given.case])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        given.home = Path(home)
        os.environ["RAY_TMPDIR"] = home  # else a Ray that somebody has started on this machine would be joined
        _CASES[given.case](given)


if __name__ == "__main__":
    main()
