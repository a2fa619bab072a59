"""Pretrainings at once."""

import threading
import time
from functools import partial
from pathlib import Path

import pytest

from raysweep.errors import WorkError
from raysweep.progress import Progress
from raysweep.stopping import Stopped
from raysweep.study.load import load_study
from raysweep.study.model import Compute
from raysweep.study.pretrain_stage import _in_threads, _slots, _unless
from raysweep.study.run import run_study
from tests.study.mini import write_mini

_QUIET = Progress(quiet=True)


def test_every_call_is_made_once_and_no_more_at_a_time_than_there_are_places() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def call(number: int) -> Exception | None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return WorkError(str(number)) if number % 3 == 0 else None

    ended = list(_in_threads([partial(call, n) for n in range(9)], 3, threading.Event()))
    assert most == 3
    assert sorted(str(error) for error in ended if error) == ["0", "3", "6"]
    assert ended.count(None) == 6


def test_what_is_raised_ends_the_stage_and_nothing_is_begun_after_it() -> None:
    begun, stopping = [], threading.Event()

    def call(number: int) -> None:
        begun.append(number)
        if number:
            stopping.wait(5)
        else:
            raise KeyError("a fault of ours")

    with pytest.raises(KeyError, match="a fault of ours"):
        list(_in_threads([partial(call, n) for n in range(9)], 2, stopping))
    assert stopping.is_set()
    assert len(begun) <= 3


def test_what_goes_wrong_after_a_stop_is_no_failure() -> None:
    stopping = threading.Event()

    def work() -> None:
        stopping.set()
        raise WorkError("Ray is gone")

    with pytest.raises(Stopped):
        _unless(stopping, work)
    _unless(stopping, lambda: pytest.fail("nothing begins any more"))
    with pytest.raises(WorkError, match="on its own"):
        _unless(threading.Event(), lambda: (_ for _ in ()).throw(WorkError("on its own")))


@pytest.mark.usefixtures("ray_session")  # with four CPUs
@pytest.mark.parametrize(
    ("compute", "slots"),
    [
        ({"workers": 1}, 4),
        ({"workers": 2}, 2),
        ({"workers": 1, "threads": 3}, 1),
        ({"workers": 8}, 1),
        ({"workers": 1, "pretrainings_at_once": 3}, 3),
        ({"workers": 1, "pretrainings_at_once": 9}, 4),
        ({"workers": 1, "loader": "data"}, 1),
    ],
)
def test_as_many_as_the_cpus_have_places_for(compute: dict, slots: int) -> None:
    assert _slots(Compute(**compute), lambda: None) == slots


def test_where_nodes_cannot_be_had_the_first_pretraining_says_so() -> None:
    def want() -> None:
        raise WorkError("no nodes")

    assert _slots(Compute(), want) == 1


@pytest.mark.long
@pytest.mark.usefixtures("ray_session")
def test_at_once_they_are_what_they_are_one_after_another(tmp_path: Path) -> None:
    trained = {"backbone": "test_resnet", "method": "supervised", "patches": "tissue", "epochs": 1, "batch": 16}
    study = write_mini(tmp_path, checkpoints={"random": {"backbone": "test_resnet"}, "two": {**trained, "seeds": 2}})
    found = {}
    for at_once in (1, 2):
        file = load_study(study, [f"compute.pretrainings_at_once={at_once}", f"storage={tmp_path / str(at_once)}"])
        run_study(file, stages=["tile"], progress=_QUIET)
        outcome = run_study(file, stages=["pretrain"], progress=_QUIET)
        assert [line for line in outcome.failures if "slide" not in line] == []
        weights = (tmp_path / str(at_once) / "mini/checkpoints").rglob("backbone.safetensors")
        found[at_once] = {path.parent.name: path.read_bytes() for path in weights}
    assert found[1] == found[2]
    assert len(found[1]) == 4
