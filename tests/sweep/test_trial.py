"""What an actor does with one piece of work after another, and what it says about each."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raysweep.errors import RequestError
from raysweep.storage import Storage
from raysweep.sweep.cell import Cell
from raysweep.sweep.trial import _KEPT, Bench
from raysweep.tasks.fractions import draw_fraction
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task
from raysweep.transfer.job import Job
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import Toy, ToyRun, ToyTrial, toy_cells

TRANSFER = TransferSpec(trials=2, repeats=2, steps=40, evaluations=3)
PARAMS = {"lr": 1e-3, "drop": 0.1}


def _work(cell: Cell, *, repeat: int = 0, fold: int = 0, params: dict | None = None, **work: int) -> dict[str, Any]:
    config = {"repeat": cell.repeats[repeat].artefact.folder.root, "fold": fold, "params": PARAMS | (params or {})}
    return config | (work or {"trial": 0})


def _actor(cells: list[Cell], config: dict[str, Any], transfer: TransferSpec = TRANSFER) -> ToyTrial:
    repeats = {r.artefact.folder.root: (c, r) for c in cells for r in c.repeats}
    actor = ToyTrial.__new__(ToyTrial)
    actor.setup(config, Bench(repeats, transfer, 0, "/the/data", threads=3, gpu=False))
    return actor


def _said(actor: ToyTrial) -> dict[str, Any]:
    return json.loads(actor.step()["said"])


def _all_said(actor: ToyTrial) -> list[dict[str, Any]]:
    said = [_said(actor)]
    while not said[-1]["last"]:
        said.append(_said(actor))
    return said


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that were started."""
    seen: list[Job] = []
    start = Toy.start

    def started(self: Toy, job: Job):
        seen.append(job)
        return start(self, job)

    monkeypatch.setattr(Toy, "start", started)
    return seen


def test_a_trial_says_its_evaluations_one_at_a_time(tmp_path: Path) -> None:
    (cell,) = toy_cells(tmp_path, TRANSFER, checkpoints="a")
    said = _all_said(_actor([cell], _work(cell)))
    assert [s["evaluation"]["step"] for s in said] == [13, 26, 40]
    assert [s["last"] for s in said] == [False, False, True]
    assert 0 < said[0]["seconds"] < said[2]["seconds"]
    assert all((s["failed"], s["lost"], s["refused"], s["final"]) == ("", "", "", None) for s in said)


def test_with_fewer_steps_than_evaluations_the_last_step_is_the_end(tmp_path: Path, monkeypatch) -> None:
    short = TRANSFER.model_copy(update={"steps": 2})
    (cell,) = toy_cells(tmp_path, short, checkpoints="a")
    advance = ToyRun.advance
    monkeypatch.setattr(ToyRun, "advance", lambda run: replace(advance(run), step=run.done))  # one at each step
    assert [s["evaluation"]["step"] for s in _all_said(_actor([cell], _work(cell), short))] == [1, 2]


def test_only_divergence_is_the_settings_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cell,) = toy_cells(tmp_path, TRANSFER, checkpoints="a")
    actor = _actor([cell], _work(cell, params={"fails_above": 1e-4}))
    said = _said(actor)
    assert (said["last"], said["failed"], said["lost"], said["refused"]) == (True, "lr 0.001 is too high", "", "")
    actor.reset_config(_work(cell, params={"needs": "/no/such/file"}))
    said = _said(actor)
    assert (said["last"], said["failed"], said["refused"]) == (True, "", "")
    assert said["lost"] == "FileNotFoundError: /no/such/file is gone"

    def refuse(self: Toy, job: Job) -> None:
        raise RequestError("the backbone cannot take images of 9 px")

    with monkeypatch.context() as patch:
        patch.setattr(Toy, "start", refuse)
        for config in (_work(cell), _work(cell, final=0)):
            actor.reset_config(config)
            said = _said(actor)
            assert (said["last"], said["failed"], said["lost"]) == (True, "", "")
            assert said["refused"] == "the backbone cannot take images of 9 px"
            assert said["final"] is None
    actor.reset_config(_work(cell))
    assert len(_all_said(actor)) == 3  # the actor is as good as new


def test_a_final_says_what_came_of_it(tmp_path: Path) -> None:
    (cell,) = toy_cells(tmp_path, TRANSFER, checkpoints="a", folds=2)
    actor = _actor([cell], _work(cell, fold=1, final=0))
    said = _said(actor)
    final = said["final"]
    assert said["last"]
    assert (final["predictions"], final["reason"]) == ("parts/toy-task-fold1.parquet", "")
    assert (final["params"], len(final["evaluations"])) == (PARAMS, 3)
    assert final["seconds"] == said["seconds"] > 0
    table = cell.repeats[0].artefact.folder.read_table("parts", "toy-task-fold1.parquet")
    assert set(table["fold"].to_pylist()) == {1}
    assert table["sample"].to_pylist() == [
        f"s{i:03d}" for i in folds(Task.load(cell.task_folder, "/the/data"), 0)[1].test
    ]

    diverging = {"final_fails": "a"}
    actor.reset_config(_work(cell, final=0, params=diverging))
    final = _said(actor)["final"]
    assert (final["predictions"], final["reason"]) == ("", "the loss is nan")
    assert (final["params"], len(final["evaluations"])) == (PARAMS | diverging, 3)
    actor.reset_config(_work(cell, final=0, params={"needs": "/no/such/file"}))
    said = _said(actor)
    assert (said["final"], said["lost"]) == (None, "FileNotFoundError: /no/such/file is gone")


def test_a_job_is_the_repeats_own_draw_and_the_folds_own_weights(tmp_path: Path, jobs: list[Job]) -> None:
    half = TRANSFER.model_copy(update={"val": 0.3})
    (cell,) = toy_cells(tmp_path, half, checkpoints="a", folds=2, fraction=0.5)
    own = tuple(Storage.open(tmp_path / f"fold{fold}" / "a") for fold in (0, 1))
    cell = replace(cell, repeats=tuple(replace(r, weights=own, features=own[::-1]) for r in cell.repeats))
    task = Task.load(cell.task_folder, "/the/data")
    actor = _actor([cell], _work(cell), half)
    for repeat in (0, 1):
        for fold in (0, 1):
            for work in ({"trial": 1}, {"final": repeat}):
                actor.reset_config(_work(cell, repeat=repeat, fold=fold, **work))
                _said(actor)
                job = jobs[-1]
                wanted = draw_fraction(task, folds(task, 0)[fold], fraction=0.5, fraction_of="images", val=0.3,
                                       draw=repeat, seed=0)  # fmt: skip
                assert (job.train, job.val, job.fold) == (wanted.train, wanted.val, fold)
                assert (job.checkpoint, job.features) == (own[fold], own[1 - fold])
                assert (job.data, job.threads, job.params) == ("/the/data", 3, PARAMS)
                assert job.select == "val_loss"  # few units in val
                assert (job.steps, job.evaluations, job.batch) == (40, 3, 32)
    assert len({job.seed for job in jobs}) == len(jobs) == 8  # every training has luck of its own
    assert len({tuple(job.train) for job in jobs}) == 4


def test_a_fixed_part_of_val_is_scored_where_the_protocol_has_such_a_budget(
    tmp_path: Path, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    capped = TRANSFER.model_copy(update={"val_images": 3, "val": 0.5})
    cells = toy_cells(tmp_path, capped, checkpoints="ab")
    actor = _actor(cells, _work(cells[0]), capped)
    _said(actor)
    monkeypatch.setattr(Toy, "budget", Toy.budget | {"val_images"})
    for cell in cells:
        for work in ({"trial": 1}, {"final": 0}):
            actor.reset_config(_work(cell, **work))
            _said(actor)
    whole, *parts = (job.val for job in jobs)
    assert len(whole) > 3
    assert all(part == parts[0] for part in parts)
    assert len(parts[0]) == 3
    assert set(parts[0]) < set(whole)
    assert {job.select for job in jobs} == {capped.select_by(len(whole) // 2)}  # by the units of all of val


def test_what_is_trained_and_for_how_long_is_the_cells(tmp_path: Path, jobs: list[Job]) -> None:
    short = TRANSFER.model_copy(update={"steps": 40, "epochs": 2.0, "batch": 16})
    (cell,) = toy_cells(tmp_path, short, checkpoints="a")
    actor = _actor([cell], _work(cell), short)
    _said(actor)
    cell = replace(cell, adaptation="lora")
    actor = _actor([cell], _work(cell), short)
    _said(actor)
    assert [job.adaptation for job in jobs] == ["", "lora"]
    assert [job.steps for job in jobs] == [short.steps_for(1, len(jobs[0].train))] * 2
    assert jobs[0].steps < 40


def test_a_training_that_ran_out_of_memory_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cell,) = toy_cells(tmp_path, TRANSFER, checkpoints="a")
    advance = ToyRun.advance

    def halved(run: ToyRun):
        evaluation = advance(run)
        return evaluation and replace(evaluation, micro_batch=8)

    assert "micro_batch" not in _said(_actor([cell], _work(cell)))["evaluation"]
    monkeypatch.setattr(ToyRun, "advance", halved)
    actor = _actor([cell], _work(cell, final=0))
    assert [e["micro_batch"] for e in _said(actor)["final"]["evaluations"]] == [8] * 3


def test_checkpoints_differ_in_nothing_but_their_weights(tmp_path: Path, jobs: list[Job]) -> None:
    cells = toy_cells(tmp_path, TRANSFER, checkpoints="ab")
    actor = _actor(cells, _work(cells[0]))
    for work in ({"trial": 1}, {"final": 0}):
        for cell in cells:
            actor.reset_config(_work(cell, **work))
            _said(actor)
        a, b = jobs[-2:]
        assert a.checkpoint.root != b.checkpoint.root
        assert replace(a, checkpoint=b.checkpoint) == b


def test_an_actor_remembers_a_few_tasks_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [
        cell for i in range(_KEPT + 3) for cell in toy_cells(tmp_path / str(i), TRANSFER, checkpoints="a", folds=2)
    ]
    loaded: list[str] = []
    load = Task.load.__func__  # type: ignore[attr-defined]

    def spy(cls: type[Task], folder: Storage, data: str) -> Task:
        loaded.append(folder.root)
        return load(cls, folder, data)

    monkeypatch.setattr(Task, "load", classmethod(spy))
    actor = _actor(cells, _work(cells[0]))
    for cell in cells:
        for fold in (0, 1):
            actor.reset_config(_work(cell, fold=fold))
            _said(actor)
            assert len(actor._tasks) <= _KEPT
            assert len(actor._draws) <= _KEPT
    assert loaded == [cell.task_folder.root for cell in cells]  # once for both folds
    actor.reset_config(_work(cells[-1]))
    _said(actor)
    assert len(loaded) == len(cells)
    actor.reset_config(_work(cells[0]))
    _said(actor)
    assert len(loaded) == len(cells) + 1
