import threading
import time

import pytest

from raysweep.errors import RequestError, WorkError
from raysweep.pretrain.room import NodesMissing, Room

_TOO_LARGE = Room(8, 1, gpu=False)


@pytest.fixture
def soon(ray_session, monkeypatch):
    """A cluster of 4 CPUs to which no node comes, and that is waited for half a second."""
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr("raysweep.pretrain.room._WAIT_SECONDS", 0.5)
    monkeypatch.setattr("raysweep.pretrain.room._LOOK_SECONDS", 0.05)


def test_what_ray_has_is_what_counts(ray_session):
    assert Room(2, 2, gpu=False).fits()
    assert not Room(2, 3, gpu=False).fits()
    assert not Room(1, 1, gpu=True).fits()


def test_nodes_of_a_cluster_are_waited_for_and_not_for_ever(soon):
    said: list[str] = []
    with pytest.raises(NodesMissing) as caught:
        _TOO_LARGE.wait(said.append)
    assert said == ["waiting up to 0 minutes for 8 CPUs; Ray has 4 now"]
    assert str(caught.value) == (
        "compute.workers: 8 workers need 8 CPUs, and after 0 minutes the cluster has 4; run again when its nodes are "
        "there, or lower compute.workers or compute.least_workers"
    )


def test_to_one_machine_no_node_comes(ray_session, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(RequestError, match=r"8 workers of 1 CPUs each do not fit the 4 that Ray has"):
        _TOO_LARGE.wait(pytest.fail)


def test_what_waits_without_a_word_for_nodes_that_have_gone_is_given_up(soon):
    said: list[str] = []
    given_up = threading.Event()
    with pytest.raises(NodesMissing, match=r"compute.workers: 8 workers need 8 CPUs"):
        _TOO_LARGE.watch(lambda: bool(given_up.wait(30)) or None, said.append)
    given_up.set()
    assert said == ["waiting up to 0 minutes for 8 CPUs; Ray has 4 now"]


@pytest.mark.parametrize("room", [Room(2, 1, gpu=False), _TOO_LARGE])
def test_what_ends_by_itself_is_waited_for_no_longer(room, soon, monkeypatch):
    """Also when its nodes went as it ended; what it raises is raised."""
    monkeypatch.setattr("raysweep.pretrain.room._WAIT_SECONDS", 60)

    def fail() -> None:
        time.sleep(0.3)
        raise WorkError("diverged")

    began, said = time.monotonic(), []
    room.watch(lambda: time.sleep(0.3), said.append)
    with pytest.raises(WorkError, match=r"^diverged$"):
        room.watch(fail, said.append)
    assert time.monotonic() - began < 20
    assert len(said) == (2 if room is _TOO_LARGE else 0)
