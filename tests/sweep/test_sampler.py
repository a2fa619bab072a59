import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.sweep.cell import Cell
from raysweep.sweep.history import History, TrialRecord
from raysweep.sweep.lane import DrawSizes, Lane
from raysweep.sweep.points import value_at
from raysweep.sweep.sampler import propose, startup_trials
from raysweep.sweep.space import distributions
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import SPACE as TOY_SPACE
from tests.sweep.toy import Toy, toy_cells

SPACE = {
    "lr": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True, "default": 1e-3},
    "kind": {"type": "categorical", "values": ["a", "b"], "default": "b"},
    "fixed": 3,
}
BUDGET = 20  # ten start-up trials


def _search(n: int, *, best: float, budget: int, seed: int = 0, status="done") -> list[TrialRecord]:
    """A search for lr = 10^best."""
    trials: list[TrialRecord] = []
    for number in range(n):
        params = propose(SPACE, trials, number=number, budget=budget, select="val_metric", stream=(seed, "t"))
        value = -abs(np.log10(params["lr"]) - best)
        evaluations = [{"step": 1, "train_loss": 0.0, "val_loss": -value, "val_metric": value}]
        kept = status if isinstance(status, str) else status(number)
        trials.append(TrialRecord(number=number, params=params, evaluations=evaluations, status=kept, value=value))
    return trials


def _startup(space: dict, numbers: range = range(1, 9), budget: int = BUDGET, seed: int = 0) -> list[dict]:
    return [propose(space, [], number=n, budget=budget, select="val_metric", stream=(seed, "t")) for n in numbers]


@pytest.mark.parametrize(("budget", "startup"), [(1, 1), (4, 4), (6, 6), (8, 6), (12, 6), (16, 8), (24, 10), (50, 10)])
def test_startup_grows_with_the_budget(budget: int, startup: int) -> None:
    assert startup_trials(budget) == startup


def test_trial_0_is_the_default_whatever_the_seed_and_the_budget() -> None:
    for seed, budget in ((0, 1), (1, 8), (2, 50)):
        params = _startup(SPACE, range(1), budget, seed)[0]
        assert params == {"fixed": 3, "kind": "b", "lr": 1e-3}
        assert list(params) == sorted(params)


def test_startup_settings_are_common_whatever_the_results() -> None:
    one, other = (_search(12, best=best, budget=12) for best in (-2, -4))
    assert [t.params for t in one[:6]] == [t.params for t in other[:6]] == _startup(SPACE, range(6), 12)
    assert [t.params for t in one[6:]] != [t.params for t in other[6:]]
    failed = _search(6, best=-2, budget=12, status=lambda n: "failed" if n < 4 else "done")
    assert [t.params for t in failed] == [t.params for t in one[:6]]


@pytest.mark.parametrize("budget", [2, 6, 12, 24, 500])
def test_a_larger_budget_changes_no_startup_point(budget: int) -> None:
    numbers = range(startup_trials(budget))
    assert _startup(SPACE, numbers, budget) == _startup(SPACE, numbers, 1000)


def test_the_seed_and_the_number_matter() -> None:
    assert len({t.params["lr"] for t in _search(6, best=-2, budget=12)}) == 6
    assert _startup(SPACE, range(1, 2)) != _startup(SPACE, range(1, 2), seed=1)


_bounds = st.tuples(st.floats(1e-6, 1e6), st.floats(1.001, 1e6)).map(lambda b: (b[0], b[0] * b[1]))
_floats = st.tuples(_bounds, st.booleans()).map(
    lambda e: {"type": "float", "low": e[0][0], "high": e[0][1], "log": e[1], "default": e[0][0]}
)
_ints = st.tuples(st.integers(1, 99), st.integers(1, 999), st.booleans()).map(
    lambda e: {"type": "int", "low": e[0], "high": e[0] + e[1], "log": e[2], "default": e[0]}
)
_categories = st.lists(st.integers() | st.text(max_size=3) | st.booleans() | st.none(), min_size=1, unique_by=repr).map(
    lambda values: {"type": "categorical", "values": values, "default": values[0]}
)
_spaces = st.dictionaries(
    st.sampled_from("abcdefg"), _floats | _ints | _categories | st.floats(0, 1), min_size=1, max_size=6
)


@settings(max_examples=40, deadline=None)
@given(_spaces, st.integers(0, 10**9))
def test_startup_points_stay_inside_and_spread(space: dict, seed: int) -> None:
    points = _startup(space, seed=seed)  # the first eight of the sequence
    ranges = distributions(space)
    for params in points:
        assert list(params) == sorted(space)
        for name, entry in space.items():
            if name not in ranges:
                assert params[name] == entry
            elif entry["type"] == "categorical":
                assert repr(params[name]) in map(repr, entry["values"])
            else:
                assert entry["low"] <= params[name] <= entry["high"]
                assert isinstance(params[name], int) == (entry["type"] == "int")
                assert ranges[name]._contains(ranges[name].to_internal_repr(params[name]))
    for name, entry in space.items():
        if name in ranges and entry["type"] == "float":  # one in every eighth of the range, or of its logarithm
            scale = math.log if entry["log"] else float
            low, width = scale(entry["low"]), scale(entry["high"]) - scale(entry["low"])
            parts = sorted((scale(params[name]) - low) / width * 8 for params in points)
            assert all(part - 1e-6 <= place <= part + 1 + 1e-6 for part, place in enumerate(parts))


def test_startup_points_give_every_value_an_equal_share() -> None:
    values = ["x", None, 3, True]
    space = {
        "category": {"type": "categorical", "values": values, "default": 3},
        "whole": {"type": "int", "low": 11, "high": 18, "log": False, "default": 11},
        "narrow": {"type": "int", "low": 1, "high": 2, "log": False, "default": 1},
    }
    points = _startup(space)
    assert Counter(repr(p["category"]) for p in points) == dict.fromkeys(map(repr, values), 2)
    assert sorted(p["whole"] for p in points) == list(range(11, 19))
    assert Counter(p["narrow"] for p in points) == {1: 4, 2: 4}


@given(_floats | _ints, st.sampled_from([0.0, 2**-40, 1 - 2**-53]))
def test_the_ends_of_a_range_are_not_passed(entry: dict, u: float) -> None:
    assert entry["low"] <= value_at(entry, u) <= entry["high"]


def _first_two(cell: Cell, transfer: TransferSpec, folder: Path, *, repeat=0, fold=0, folds=1, seed=0, **sizes) -> list:
    """Params of the first two trials of a lane in a folder of its own."""
    fresh = toy_cells(folder, transfer, checkpoints="a")[0].repeats[repeat]
    many = {"n_images": 20, "n_units": 10, "n_val_images": 4, "n_val_units": 2} | sizes
    lane = Lane(cell, fresh, fold, folds, transfer, seed, sizes=DrawSizes(**many))
    found = []
    for _ in range(2):
        work = lane.start()
        found.append(work.params)
        lane.tell(work.number, 1.0, failed="it is of no matter here")
    return found


def test_what_startup_settings_depend_on_and_what_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transfer = TransferSpec(trials=8, repeats=2)
    cell = toy_cells(tmp_path, transfer, checkpoints="a")[0]
    first = _first_two(cell, transfer, tmp_path / "first")
    same = [
        _first_two(replace(cell, task="another"), transfer, tmp_path / "task"),
        _first_two(replace(cell, fraction=0.1), transfer, tmp_path / "fraction"),
        _first_two(replace(cell, checkpoint="z"), transfer, tmp_path / "checkpoint"),
        _first_two(cell, transfer, tmp_path / "fold", fold=1, folds=2),
        _first_two(cell, transfer, tmp_path / "sizes", n_val_units=30),
        _first_two(cell, transfer.model_copy(update={"trials": 50}), tmp_path / "trials"),
    ]
    assert same == [first] * len(same)
    other = [
        _first_two(cell, transfer, tmp_path / "repeat", repeat=1),
        _first_two(cell, transfer, tmp_path / "seed", seed=1),
        _first_two(replace(cell, protocol="finetune"), transfer, tmp_path / "protocol"),
        _first_two(replace(cell, kind="segmentation"), transfer, tmp_path / "kind"),
    ]
    monkeypatch.setattr(Toy, "adaptation", "frozen")
    other.append(_first_two(cell, transfer, tmp_path / "adaptation"))
    assert [params[0] for params in other] == [first[0]] * len(other)  # the default
    assert len({json.dumps(params[1]) for params in [first, *other]}) == 1 + len(other)


def test_after_startup_it_learns_from_done_and_pruned_trials() -> None:
    def late(status) -> float:
        distances = [
            abs(np.log10(t.params["lr"]) + 2)
            for s in range(4)
            for t in _search(24, best=-2, budget=24, seed=s, status=status)[12:]
        ]
        return float(np.mean(distances))

    ignorant = late("failed")
    assert late("done") < 0.7 * ignorant
    assert late(lambda n: "pruned" if n % 2 else "done") < 0.7 * ignorant


def test_a_study_rebuilt_from_a_journal_proposes_the_same() -> None:
    trials = _search(9, best=-2, budget=12, status=lambda n: ["done", "pruned", "failed"][n % 3])
    events: list[dict] = []
    for t in trials:
        events.append({"event": "asked", "trial": t.number, "params": t.params})
        events += [{"event": "reported", "trial": t.number, **e, "seconds": 1.0} for e in t.evaluations]
        events.append({"event": "told", "trial": t.number, "status": t.status, "value": t.value, "step": 1,
                       "reason": "", "seconds": 1.0})  # fmt: skip
    rebuilt = History(json.loads(json.dumps(events))).trials.values()
    for number in (9, 10, 11):
        one, two = (
            propose(SPACE, known, number=number, budget=12, select="val_metric", stream=(0, "t"))
            for known in (trials, rebuilt)
        )
        assert one == two


def test_running_trials_and_constants_are_no_obstacle() -> None:
    params = _search(8, best=-2, budget=8, status=lambda n: "asked" if n == 7 else "done")[-1].params
    assert params["fixed"] == 3
    for number in (0, 1):
        assert propose({"fixed": 3}, [], number=number, budget=9, select="val_loss", stream=(0,)) == {"fixed": 3}
    assert _startup(TOY_SPACE)[0]["pace"] == 0.0
