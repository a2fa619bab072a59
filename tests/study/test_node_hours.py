"""How many hours of nodes a study takes, and what they cost."""

from types import SimpleNamespace
from typing import Any

import pytest

from raysweep.errors import RequestError
from raysweep.study import node_hours
from raysweep.study.forecast import SEARCH_START
from raysweep.study.graph import build_graph
from raysweep.study.load import load_study
from raysweep.study.model import Compute
from raysweep.study.node_hours import node_notes, stage_hours
from tests.study.mini import write_mini

_HOUR = 3600.0
_PIXELS = 32 * _HOUR / node_hours._PIXEL  # an hour of 32 CPUs


def _costs(compute: dict[str, Any], **seconds: Any) -> Any:
    return SimpleNamespace(compute=Compute(**compute), **{"pretrain": 0.0, "features": 0.0, "chains": [], **seconds})


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_hours, "machine", lambda: {"cpus": 8, "gpus": 0})


def test_each_stage_keeps_its_nodes_until_its_last_work_has_ended() -> None:
    trials = [(4 * _HOUR - 2 * SEARCH_START, 2)]  # on two of four GPUs: trials at once
    costs = _costs({"cpus": 32, "gpus": 4, "workers": 2, "trials_at_once": 2}, pretrain=6 * _HOUR, chains=trials)
    found = {s.stage: (s.kind, s.nodes, round(s.hours, 3)) for s in stage_hours(costs, _PIXELS)}
    assert found == {"tile": ("cpu", 2, 1.0), "pretrain": ("gpu", 4, 3.0), "tune": ("gpu", 4, round(4 - 15 / 3600, 3))}
    assert sum(s.node_hours for s in stage_hours(costs, _PIXELS)) == pytest.approx(2 + 12 + 16, abs=0.02)


def test_without_gpus_the_pool_trains_and_without_a_pool_this_machine() -> None:
    seconds = {"pretrain": 4 * _HOUR, "features": 8 * _HOUR}
    pool = stage_hours(_costs({"cpus": 20, "threads": 5, "workers": 8}, **seconds), 0.0)
    assert [(s.stage, s.kind, s.nodes, s.hours) for s in pool] == [("pretrain", "cpu", 2, 1.0), ("tune", "cpu", 2, 2.0)]
    here = stage_hours(_costs({"threads": 2}, **seconds), 0.0)
    assert [(s.kind, s.nodes, s.hours) for s in here] == [("cpu", 1, 2.0), ("cpu", 1, 2.0)]
    assert node_notes(_costs({"threads": 2}, **seconds), 0.0) == []  # nobody asked for nodes


def test_dollars_are_node_hours_times_prices() -> None:
    asked = {"cpus": 32, "gpus": 4, "node_gpus": 2, "workers": 4}
    seconds = {"pretrain": 20 * _HOUR}
    assert node_notes(_costs(asked | {"prices": {"cpu": 0.75, "gpu": 5.0}}, **seconds), _PIXELS) == [
        "about 12 node-hours: tile 2 (2 cpu nodes), pretrain 10 (2 gpu nodes); starting and idle nodes apart; of GPU "
        "nodes at most, since times are of this machine, which has none",
        "about 52 dollars by compute.prices: tile 1.50, pretrain 50",
    ]
    assert node_notes(_costs(asked | {"prices": {"cpu": 0.75}}, **seconds), _PIXELS)[1] == (
        "no dollars: compute.prices says nothing of gpu nodes"
    )
    assert len(node_notes(_costs(asked, **seconds), _PIXELS)) == 1
    assert node_notes(_costs(asked, **seconds | {"pretrain": 0.0}), 0.0) == []


def test_prices_are_checked_and_change_no_fingerprint(tmp_path) -> None:
    study = write_mini(tmp_path)
    with pytest.raises(RequestError, match=r"^mini.yaml: unknown key compute.prices.gpus; did you mean gpu\?"):
        load_study(study, ["compute.prices.gpus=1"])
    with pytest.raises(RequestError, match=r"^mini.yaml: compute.prices.gpu: input should be greater than or equal"):
        load_study(study, ["compute.prices.gpu=-1"])
    plain, priced = (
        [a.folder.root for a in build_graph(load_study(study, changes)).artefacts()]
        for changes in ([], ["compute.prices={cpu: 0.75, gpu: 5}", "compute.node_cpus=32", "compute.node_gpus=8"])
    )
    assert plain == priced
