import numpy as np
import pytest

from raysweep.sweep.history import TrialRecord
from raysweep.sweep.sampler import propose, startup_trials

SPACE = {
    "lr": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
    "kind": {"type": "categorical", "values": ["a", "b"]},
    "fixed": 3,
}


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


@pytest.mark.parametrize(("budget", "startup"), [(1, 1), (4, 4), (6, 6), (12, 6), (16, 8), (24, 10), (50, 10)])
def test_startup_grows_with_the_budget(budget: int, startup: int) -> None:
    assert startup_trials(budget) == startup


def test_startup_settings_are_common_whatever_the_results() -> None:
    one, other = (_search(12, best=best, budget=12) for best in (-2, -4))
    assert [t.params for t in one[:6]] == [t.params for t in other[:6]]
    assert [t.params for t in one[6:]] != [t.params for t in other[6:]]
    failed = _search(6, best=-2, budget=12, status=lambda n: "failed" if n < 4 else "done")
    assert [t.params for t in failed] == [t.params for t in one[:6]]


def test_the_seed_and_the_number_matter() -> None:
    assert len({t.params["lr"] for t in _search(6, best=-2, budget=12)}) == 6
    assert _search(1, best=-2, budget=12)[0].params != _search(1, best=-2, budget=12, seed=1)[0].params


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


def test_running_trials_and_constants_are_no_obstacle() -> None:
    params = _search(8, best=-2, budget=8, status=lambda n: "asked" if n == 7 else "done")[-1].params
    assert params["fixed"] == 3
    assert propose({"fixed": 3}, [], number=0, budget=1, select="val_loss", stream=(0,)) == {"fixed": 3}
