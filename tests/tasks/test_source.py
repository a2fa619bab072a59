"""Which images of a labelled set a pretraining may see, and what its patch set depends on."""

from dataclasses import replace

import pytest

from raysweep.storage import Storage
from raysweep.tasks.examine import Examined
from raysweep.tasks.source import source_inputs, train_rows, window_px
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task

_ROWS = [(f"p{i // 2}", i % 2) for i in range(24)]


def _given(make_task) -> Task:
    task = make_task(_ROWS, splits={"type": "given"})
    task.samples = [
        replace(sample, split=("train", "val", "test")[int(sample.unit[1:]) % 3]) for sample in task.samples
    ]
    return task


@pytest.mark.parametrize("splits", [{"type": "folds", "k": 3}, {"type": "holdout"}])
def test_a_fold_gives_its_train_split_and_no_fold_everything(make_task, splits):
    task = make_task(_ROWS, splits=splits)
    for fold in folds(task, 7):
        rows = train_rows(task, fold.index, 7)
        assert rows == {task.samples[i].id for i in fold.train}
        assert rows.isdisjoint(task.samples[i].id for i in fold.test)
        assert rows
    assert train_rows(task, None, 7) == {sample.id for sample in task.samples}


def test_val_and_test_of_an_official_split_are_never_seen(make_task):
    task = _given(make_task)
    train = {sample.id for sample in task.samples if sample.split == "train"}
    assert train_rows(task, None, 0) == train_rows(task, 0, 0) == train
    assert len(train) == 8


def test_a_worker_needs_the_index_and_no_data(make_task, tmp_path):
    task = make_task(_ROWS, splits={"type": "folds", "k": 3})
    task.save(Storage.open(tmp_path))
    there = Task.load(Storage.open(tmp_path), "nowhere")
    assert [train_rows(there, fold, 3) for fold in range(3)] == [train_rows(task, fold, 3) for fold in range(3)]


def test_the_inputs_are_what_patches_show(make_task, make_card):
    def with_files(task: Task, mask: str = "5-m") -> Task:
        task.examined = [Examined(f"3-{i}+{mask}", "", ()) for i in range(len(task.samples))]
        return task

    task = with_files(make_task(_ROWS))
    same = source_inputs(task, 0)
    assert source_inputs(with_files(make_task(_ROWS), mask="6-n"), 0) == same
    others = {"splits": {"type": "folds", "k": 3}, "metrics": ["macro_f1"]}
    assert source_inputs(with_files(make_task(_ROWS, **others)), 0) == same
    shuffled = Task(task.card, task.root, task.samples[::-1], [], task.examined[::-1])
    assert source_inputs(shuffled, 0) == same
    assert source_inputs(task, 1) != same
    for change in ({"px": 64}, {"mpp": 0.5}, {"classes": ["class0", "x"]}):
        assert source_inputs(with_files(make_task(_ROWS, **change)), 0) != same
    assert source_inputs(with_files(make_task([("p", 1), *_ROWS[1:]])), 0) != same
    assert len(str(same)) < 500


def test_windows_are_what_the_network_of_the_task_sees(make_card):
    assert window_px(make_card(px=96)) == 96
    assert window_px(make_card(px=128, mpp=0.62, at_mpp=1.55)) == 320
    assert window_px(make_card(px=128, mpp=0.5)) == 128
