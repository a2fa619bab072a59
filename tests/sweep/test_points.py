"""Points of a space, and what every sampler makes of a history."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep.errors import RequestError
from raysweep.sweep import points
from raysweep.sweep.history import History, TrialRecord
from raysweep.sweep.points import GRID_POINTS, grid_point, grid_size, place_of, sobol, uniform, value_at
from raysweep.sweep.sampler import propose, startup_trials, trials_of
from raysweep.sweep.space import default_of, present
from tests.sweep.test_space import CONDITIONS

SPACE = {
    "lr": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True, "default": 1e-3},
    "drop": {"type": "float", "low": 0.0, "high": 0.5, "log": False, "default": 0.1},
    "depth": {"type": "int", "low": 1, "high": 12, "log": True, "default": 3},
    "kind": {"type": "categorical", "values": ["a", None, 3], "default": None},
    "fixed": "x",
}
LEARNING = ["tpe", "cmaes", "gp"]
SAMPLERS = [*LEARNING, "random", "grid", "qmc"]
STREAM = (0, "t")


def _search(sampler, n: int, space: dict, *, status=lambda n: "done", seed: int = 0, budget: int = 16) -> list:
    """A search for lr = 1e-2, and few else."""
    trials: list[TrialRecord] = []
    for number in range(n):
        params = propose(space, trials, number=number, budget=budget, select="val_metric", stream=(seed, "t"),
                         sampler=sampler)  # fmt: skip
        value = -abs(np.log10(params["lr"]) + 2) if "lr" in params else float(params.get("momentum", 0.5))
        evaluations = [{"step": 1, "train_loss": 0.0, "val_loss": -value, "val_metric": value}]
        kept = status(number)
        trials.append(TrialRecord(number=number, params=params, evaluations=evaluations, status=kept,
                                  value=value if kept in ("done", "pruned") else None))  # fmt: skip
    return trials


def _journal(trials: list[TrialRecord]) -> list[dict]:
    events: list[dict] = []
    for t in trials:
        events.append({"event": "asked", "trial": t.number, "params": t.params})
        events += [{"event": "reported", "trial": t.number, **e, "seconds": 1.0} for e in t.evaluations]
        if t.status != "asked":
            events.append({"event": "told", "trial": t.number, "status": t.status, "value": t.value, "step": 1,
                           "reason": "", "seconds": 1.0})  # fmt: skip
    return events


@pytest.mark.parametrize("space", [SPACE, CONDITIONS], ids=["plain", "conditions"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_proposes_the_same_from_the_same_history_and_from_its_journal(sampler, space: dict) -> None:
    def status(number: int) -> str:
        return ["done", "pruned", "failed", "done", "asked"][number % 5]

    trials = _search(sampler, 9, space, status=status)
    assert trials == _search(sampler, 9, space, status=status)
    assert trials[0].params == default_of(space)
    rebuilt = list(History(json.loads(json.dumps(_journal(trials)))).trials.values())
    for number in (9, 10, 11):
        one, two = (propose(space, known, number=number, budget=16, select="val_metric", stream=STREAM,
                            sampler=sampler) for known in (trials, rebuilt))  # fmt: skip
        assert one == two
        assert list(one) == sorted(one)
        full = {name: entry if not isinstance(entry, dict) else entry["default"] for name, entry in space.items()}
        assert present(space, full | one) == one  # what is not there is left out, and all else is in
        for name, value in one.items():
            if isinstance(space[name], dict):
                assert 0 <= place_of(space[name], value) <= 1


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "gp", "random", "qmc"])
def test_startup_settings_are_common_to_samplers(sampler) -> None:
    n = startup_trials(16)
    assert [t.params for t in _search(sampler, n, SPACE)] == [t.params for t in _search("tpe", n, SPACE)]


@pytest.mark.parametrize("sampler", LEARNING)
def test_what_learns_comes_nearer(sampler) -> None:
    def late(kept: str) -> float:
        found = [_search(kept, 24, SPACE, seed=seed, budget=24)[14:] for seed in range(1 if sampler == "gp" else 2)]
        return float(np.mean([abs(np.log10(t.params["lr"]) + 2) for trials in found for t in trials]))

    assert late(sampler) < 0.75 * late("random")


def test_cmaes_moves_with_each_generation_and_takes_failures_as_the_worst() -> None:
    trials = _search("cmaes", 20, SPACE, budget=30)
    for status in ("failed", "asked"):
        other = [TrialRecord(number=t.number, params=t.params, status=status) if t.number == 11 else t for t in trials]
        one, two = (propose(SPACE, known, number=20, budget=30, select="val_metric", stream=STREAM, sampler="cmaes")
                    for known in (trials, other))  # fmt: skip
        assert one != two
    single = {"lr": SPACE["lr"]}
    assert 1e-5 <= _search("cmaes", 12, single)[-1].params["lr"] <= 1e-1
    assert propose({"fixed": 1}, [], number=9, budget=16, select="last", stream=STREAM, sampler="cmaes") == {"fixed": 1}


def test_a_grid_has_every_point_once_the_default_first_and_ends() -> None:
    space = {
        "lr": {"type": "categorical", "values": [1e-3, 1e-4, 1e-5], "default": 1e-4},
        "drop": SPACE["drop"],
        "depth": {"type": "int", "low": 2, "high": 4, "log": False, "default": 2},
        "fixed": 1,
    }
    n = grid_size(space)
    assert n == 3 * GRID_POINTS * 3 + 1  # the default's drop is none of the four
    found = [grid_point(space, number, STREAM) for number in range(n)]
    assert found[0] == default_of(space)
    assert len({json.dumps(p) for p in found}) == n
    assert sorted({p["drop"] for p in found[1:]}) == pytest.approx([0.0, 0.5 / 3, 1 / 3, 0.5])
    assert Counter(p["lr"] for p in found[1:]) == dict.fromkeys((1e-3, 1e-4, 1e-5), 12)
    with pytest.raises(IndexError):
        grid_point(space, n, STREAM)
    assert found[1:] != [grid_point(space, number, (1, "t")) for number in range(1, n)]
    assert (trials_of(space, "grid", 1000), trials_of(space, "grid", 5), trials_of(space, "tpe", 1000)) == (n, 5, 1000)
    marks = [grid_point({"lr": SPACE["lr"]}, number, STREAM)["lr"] for number in range(5)]
    assert sorted(marks[1:]) == pytest.approx([1e-5, 10 ** (-11 / 3), 10 ** (-7 / 3), 1e-1])
    assert grid_size({"depth": SPACE["depth"]}) == GRID_POINTS + 1  # 1, 2, 5, 12, and 3
    assert grid_size({"fixed": 1}) == 1


def test_a_grid_with_conditions_has_no_point_twice() -> None:
    # adamw; sgd with 4 momenta (and its default's), with nesterov, and without at 3 damps
    assert grid_size(CONDITIONS) == 1 + 4 + 4 * 3


def test_too_large_a_grid_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    space = {f"p{i}": SPACE["drop"] for i in range(9)}
    with pytest.raises(RequestError, match=r"p0, p1, .* has more than 100,000 points; fix some"):
        trials_of(space, "grid", 4)
    assert trials_of(space, "tpe", 4) == 4


def test_points_by_chance_are_spread_and_differ() -> None:
    found = [uniform(SPACE, number, STREAM) for number in range(200)]
    assert found == [uniform(SPACE, number, STREAM) for number in range(200)]
    assert 60 < sum(p["lr"] < 1e-3 for p in found) < 140
    assert set(Counter(p["kind"] for p in found)) == {"a", None, 3}
    assert sobol(SPACE, 3, STREAM) != sobol(SPACE, 4, STREAM)


@given(st.sampled_from(["lr", "drop", "depth", "kind"]), st.floats(0, 1, exclude_max=True))
def test_a_place_and_back(name: str, u: float) -> None:
    entry = SPACE[name]
    value = value_at(entry, u)
    assert value_at(entry, min(place_of(entry, value), 1 - 2**-53)) == (
        value if entry["type"] != "float" else pytest.approx(value, rel=1e-9, abs=1e-12)
    )
    assert points._MOST_POINTS == 100_000
