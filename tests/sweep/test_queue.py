"""Lanes are served in the order in which a look at each of them would choose."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.sweep.lane import Lane
from raysweep.sweep.queue import LaneQueue
from raysweep.transfer.spec import TransferSpec
from tests.sweep.driven import Driven

_DEEDS = ("start", "start", "start", "done", "done", "done", "failed", "lost", "died", "released", "refused")


@pytest.fixture(scope="module", autouse=True)
def _no_plug_is_pulled() -> Iterator[None]:
    with patch.object(os, "fsync", lambda descriptor: None):
        yield


def _by_looking(lanes: Sequence[Lane], places: int) -> Lane | None:
    """Every open lane is asked what it has to give."""
    searching = sum(not lane.searched for lane in lanes)
    order = ("trial", "final") if searching <= places else ("final", "trial")
    able = [lane for lane in lanes if lane.peek() is not None]
    return min(able, key=lambda lane: (lane.losses.total(), order.index(lane.peek())), default=None)


@settings(max_examples=40, deadline=None)
@given(
    deeds=st.lists(st.tuples(st.sampled_from(_DEEDS), st.integers(0, 10**6)), min_size=10, max_size=60),
    places=st.integers(1, 5),
    folds=st.integers(1, 2),
    search=st.sampled_from(["each", "once"]),
    parallel=st.integers(1, 2),
)
def test_the_same_lane_is_chosen_whatever_has_happened(
    tmp_path_factory, deeds, places: int, folds: int, search: str, parallel: int
) -> None:
    transfer = TransferSpec(trials=2, repeats=2, steps=10, evaluations=1, search=search, parallel_per_repeat=parallel)
    drive = Driven(tmp_path_factory.mktemp("queue"), places, "ab", transfer, folds)
    board = drive.board
    for deed, pick in deeds:
        if deed == "start":
            open_lanes = [lane for lane in drive.lanes if id(lane.repeat) in board._lanes]
            assert board._queue.n_searching == sum(not lane.searched for lane in open_lanes)
            assert len(board._queue) == len(open_lanes)
            expected = _by_looking(open_lanes, places) if len(drive.working) < places else None
            name = drive.start()
            assert (drive.working[name][1] if name else None) is expected
            continue
        if not drive.working:
            continue
        name = sorted(drive.working)[pick % len(drive.working)]
        if deed == "done":
            drive.final(name) if name.endswith("final") else drive.say(name)
        elif deed == "failed":
            drive.final(name, "nan") if name.endswith("final") else drive.say(name, evaluation=None, failed="nan")
        elif deed == "lost":
            drive.lose(name)
        elif deed == "died":
            drive.die(name)
        elif deed == "released":
            board.release(drive.working.pop(name)[0])
        elif pick % 4 == 0:
            drive.say(name, evaluation=None, refused="no")


def test_a_start_looks_at_a_few_lanes_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Lane] = []
    peek = Lane.peek
    monkeypatch.setattr(Lane, "peek", lambda lane: (looked.append(lane), peek(lane))[1])
    counts = []
    for repeats in (4, 40):
        transfer = TransferSpec(trials=2, repeats=repeats, steps=10, evaluations=1)
        drive = Driven(tmp_path / str(repeats), 2, "abc", transfer)
        looked.clear()
        drive.search("a0 trial 0", "a0 trial 1")
        assert drive.start() == "a0 final"
        drive.final("a0 final")
        counts.append(len(looked))
    assert counts[0] == counts[1] <= 3 * 5


def test_closed_lanes_are_let_go(tmp_path: Path) -> None:
    drive = Driven(tmp_path, checkpoints="ab")
    queue = LaneQueue(drive.lanes)
    first, second = drive.lanes
    queue.remove(first, first)
    queue.update(first)
    assert (len(queue), queue.n_searching) == (1, 1)
    assert queue.first(("final",)) is None
    assert queue.first(("final", "trial")) is second
    queue.remove(second)
    assert not queue
    assert queue.first(("trial", "final")) is None
    assert queue._lanes == {}
