"""What a search costs beside its trainings, and what its rules gain.

    python -m tests.benchmarks.search CASE [--pairs N] [--short]
    RAYSWEEP_TEST_DATA=DIR python -m tests.benchmarks.search asha|regret --surface FILE

Figures of time are medians of pairs in fresh processes, the two sides in turn, with an interval of at least 95 % by
order statistics; what can be counted is counted. Trainings are those of a tiny network on pictures of 32 px, nothing is
downloaded. `asha` and `regret` judge real cells: 64 settings of the demo's tissue and of GlaS's grades are trained
once, and kept in the file; with it, the rules can be judged again without training. `--short` makes every run as small
as it can be, to see that a case works; its figures mean nothing.

| case | what | against |
|---|---|---|
| starts | ms of the driver's processor for a start, among 500, 2,000 and 10,000 lanes | 2 ms |
| tune | seconds a trial of nothing, from 1,000 trials to 4,000 | those from 200 to 1,000 |
| overhead | seconds a trial, 50 trials of a tiny model | the same trainings in a plain loop |
| tuners | 12 cells x 8 trials, two at once | 12 Tuners with OptunaSearch, one after another |
| linear | `linear` on 5,000 images of 224 px, ResNet-18, a path of 100 settings, two threads | its features alone |
| memory | images of a task that four trials hold at once | one trial |
| asha | steps and best value of 27 settings, 5 seeds, stopped early | the same trained to their end |
| regret | best of 4, 8 and 16 trials on a surface of 64 settings, 20 seeds | random search |

Last figures (on two cores that others used heavily; the processor's time grows with that too):

| case | figure | target |
|---|---|---|
| starts, 500 / 2,000 / 10,000 lanes | 1.5 / 1.2 / 1.0 ms (1 run each), and 1.2 s once to import libraries | <= 2 ms |
| of which choosing a lane | 0.05 / 0.03 / 0.03 ms | |
| overhead | 0.03 s a trial less than a plain loop, 1.54 s (1 pair, nothing beside it) | <= 0.2 s |
| tune | 1.23 times: 27.9 ms a trial, then 34.2 (1 pair, nothing beside it) | <= 1.2 |
| tuners | 3.8 times as fast: 146 s, 559 s (1 pair, other work beside both) | >= 3 |
| memory | 207 MiB of pixels are 231 MiB with one trial, 171 with four: held once (1 run) | <= 0.1 |
| linear | 2.2 times its features' 186 s: noise, on which weak penalties take up to 1,000 steps (1 run) | <= 1.5 |
| asha, GlaS by its metric | 0.58 of the steps (0.47 to 0.64); best value never worse | <= 0.55; <= 0.01 |
| asha, the demo by its metric | 0.86: few val images, so many settings tie and go on; never worse | the same |
| regret of 4 trials, GlaS / demo | 0.163 (chance 0.178) / 0.151 (0.119; of 100 seeds 0.138, 0.135) | not worse |
| regret of 8 trials | 0.079 (0.104) / 0.056 (0.073) | better |
| regret of 16 trials | 0.042 (0.063) / 0.024 (0.045) | better |
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.benchmarks import search_frozen as frozen
from tests.benchmarks import search_rules as rules
from tests.benchmarks import search_sides as sides
from tests.benchmarks.pairs import Given, in_turn, run_cases, run_command, tell

_SIDES: dict[str, Callable[..., dict[str, Any]]] = {
    side.__name__: side
    for side in (sides.starts, sides.tune, sides.overhead_search, sides.overhead_plain, sides.tuners_ours,
                 sides.tuners_peer, frozen.linear, frozen.memory, rules.surface)
}  # fmt: skip


class _Given(Given):
    surface: str | None

    def run(self, side: str, *, folder: str = "", omp: int = 1, **keys: Any) -> dict[str, Any]:
        """What a side answers, from a fresh process and, unless it is named, in a fresh folder."""
        keys |= {"folder": folder or tempfile.mkdtemp(dir=self.home)}
        command = [sys.executable, "-m", "tests.benchmarks.search", "--side", side, json.dumps(keys)]
        return run_command(command, omp=omp)


def _starts(given: _Given) -> None:
    for lanes in (20, 100) if given.short else (500, 2000, 10_000):
        made = [given.run("starts", lanes=lanes, rounds=min(400, 4 * lanes)) for _ in range(given.pairs)]
        first = made[0]
        print(f"starts among {lanes:,} lanes: {first['looked']:.1f} looks at a lane a start, {first['choosing_ms']:.2f}"
              f" ms to choose, {first['synced']:.1f} syncs of a journal to disk in all; lanes opened in "
              f"{first['opening_ms']:.2f} ms each; libraries imported in {first['imports_s']:.1f} s, once; an actor is "
              f"told of all repeats once, {first['bench_bytes']:.0f} bytes each")  # fmt: skip
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


def _linear(given: _Given) -> None:
    keys = {"images": 80, "settings": 5} if given.short else {"images": 5000, "settings": 100}
    made = [given.run("linear", omp=2, threads=2, **keys) for _ in range(given.pairs)]
    whole, features = (statistics.median(side[key] for side in made) for key in ("whole", "features"))
    print(f"linear: {whole:.1f} s, of which the features {features:.1f} s; C {made[0]['chosen']:.2g} of "
          f"{keys['settings']}, {made[0]['value']:.3f}")  # fmt: skip
    tell("whole run, times its features' seconds", [m["whole"] / m["features"] for m in made], 1.5, most=True)


def _memory(given: _Given) -> None:
    many = 64 if given.short else 400
    more = []
    for _ in range(given.pairs):
        held = []
        for trials in (1, 4):
            small, large = (given.run("memory", trials=trials, images=n) for n in (32, many))
            held.append(large["mib"] - small["mib"])
        pixels = large["pixels_mib"] - small["pixels_mib"]
        print(f"memory: {pixels:.0f} MiB more of pixels are {held[0]:.0f} MiB more of memory with one trial, "
              f"{held[1]:.0f} MiB with four")  # fmt: skip
        more.append((held[1] - held[0]) / pixels)
    tell("times that three more trials hold the pixels again", more, 0.1, most=True)


def _asha(given: _Given) -> None:
    rules.judge_stopping(rules.surfaces(given.run, given.surface, short=given.short), short=given.short)


def _regret(given: _Given) -> None:
    rules.judge_sampler(rules.surfaces(given.run, given.surface, short=given.short), short=given.short)


_CASES: dict[str, tuple[Callable[[_Given], None], int]] = {
    "starts": (_starts, 3), "tune": (_tune, 1), "overhead": (_overhead, 3), "tuners": (_tuners, 3),
    "linear": (_linear, 1), "memory": (_memory, 1), "asha": (_asha, 1), "regret": (_regret, 1),
}  # fmt: skip

if __name__ == "__main__":
    run_cases(__doc__, _Given(), _CASES, _SIDES, {"--surface": "FILE"})
