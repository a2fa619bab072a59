"""How work ends that kills the process that does it."""

import os
import signal
from pathlib import Path

import pytest
import ray

from raysweep.patches.shuffle import attempts
from raysweep.patches.shuffle.attempts import attempt
from raysweep.storage import Storage

_DYING = []  # what is thrown away comes to its end


def tried(folder: Storage, times: int) -> list[str | None]:
    """What attempts are told that do not come to an end, as of processes that die."""
    dying = [attempt(folder, "run", "a", "image") for _ in range(times)]
    _DYING.extend(dying)
    return [one.__enter__() for one in dying]


def test_what_kills_its_process_three_times_is_not_tried_again(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    for _ in range(2):
        with attempt(folder, "run", "a", "image") as reason:
            assert reason is None
    assert not list(tmp_path.iterdir()), "an attempt that ends, with an error or without, does not count"
    assert tried(folder, 3) == [None] * 3
    with attempt(folder, "run", "a", "image") as reason:
        assert reason == "the process that read this image died 3 times"
    with attempt(folder, "run", "b", "image") as reason:
        assert reason is None


def test_deaths_for_want_of_memory_count_by_themselves_and_end_too(tmp_path: Path, monkeypatch) -> None:
    folder = Storage.open(tmp_path)
    assert tried(folder, 2) == [None] * 2
    monkeypatch.setattr(attempts, "_memory_was_short", lambda worker: int(worker.partition("-")[0]) >= 2)
    assert tried(folder, 10) == [None] * 10, "two deaths, and nine for want of memory"
    with attempt(folder, "run", "a", "image") as reason:
        assert reason is not None
        assert reason.startswith("Ray ended the process that read this image 10 times because its node was short of")


@pytest.mark.usefixtures("ray_session")
def test_a_process_that_was_killed_by_another_hand_was_not_short_of_memory() -> None:
    @ray.remote
    class Named:
        def name(self) -> str:
            return attempts._this_worker(0)

        def die(self) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    actor = Named.remote()
    worker = ray.get(actor.name.remote())
    assert len(worker) == 2 + 56
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(actor.die.remote())
    assert not attempts._memory_was_short(worker)
