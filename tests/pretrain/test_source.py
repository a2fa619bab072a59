"""What a pretraining may see, and the list of what it has seen."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from raysweep.errors import WorkError
from raysweep.pretrain.source import SourceInput, read_sources, write_sources
from raysweep.storage import Storage
from raysweep.tasks.card import Card
from raysweep.tasks.examine import Examined
from raysweep.tasks.sample import Sample
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task


@pytest.fixture
def task() -> Task:
    """Twelve images of six patients in three folds; their files are nowhere."""
    card = Card.model_validate(
        {"name": "toy", "kind": "classification", "classes": ["x", "y"], "source": "made", "licence": {"name": "CC0"},
         "root": "toy", "layout": {"type": "csv", "file": "x.csv"}, "unit": "patient",
         "splits": {"type": "folds", "k": 3}, "metrics": ["accuracy"]}
    )  # fmt: skip
    samples = [Sample(f"{i:02d}.png", f"{i:02d}.png", None, i % 2, f"p{i // 2}") for i in range(12)]
    return Task(card, Path("/nowhere"), samples, [], [Examined(f"7-{i}", "", ()) for i in range(12)])


@pytest.fixture
def labelled(task: Task, tmp_path: Path) -> SourceInput:
    """The set as a source: of its patch set, the slide table, in which one image has failed."""
    index, folder = Storage.open(tmp_path / "index"), Storage.open(tmp_path / "set")
    task.save(index)
    rows = [{"slide": s.id, "status": "done" if i else "failed", "patient": s.unit, "split": None, "hash": f"7-{i}"}
            for i, s in enumerate(task.samples)]  # fmt: skip
    folder.write_table(pa.Table.from_pylist(rows), "slides.parquet")
    return SourceInput("toy", folder, 2.0, index, None)


def _seen(folder: Storage) -> list[dict]:
    return folder.read_table("sources.parquet").to_pylist()


def test_workers_find_what_is_allowed_without_the_data(task: Task, labelled: SourceInput, tmp_path: Path) -> None:
    assert labelled.allowed(3) == {sample.id for sample in task.samples}
    for fold in folds(task, 3):
        assert replace(labelled, fold=fold.index).allowed(3) == {task.samples[i].id for i in fold.train}
    assert SourceInput("slides", labelled.folder).allowed(3) is None
    with pytest.raises(WorkError, match="there is no saved task here"):
        replace(labelled, task=Storage.open(tmp_path / "gone")).allowed(3)


def test_seen_is_what_was_allowed_and_could_be_read(task: Task, labelled: SourceInput, tmp_path: Path) -> None:
    folder = Storage.open(tmp_path / "checkpoint")
    for fold in folds(task, 0):
        write_sources(folder, [replace(labelled, fold=fold.index)], labels=True, parent=None, split_seed=0)
        expected = [task.samples[i] for i in fold.train if i]
        assert _seen(folder) == [
            {"source": "toy", "id": s.id, "unit": s.unit, "hash": f"7-{int(s.id[:2])}", "labels": True}
            for s in expected
        ]


def test_slides_of_the_training_split_and_all_that_the_parent_saw(
    make_set: Callable[..., Storage], labelled: SourceInput, tmp_path: Path
) -> None:
    tiled = Storage.open(tmp_path / "tiled")
    rows = [{"slide": f"s{i}", "status": status, "patient": patient, "split": split}
            for i, (status, patient, split) in enumerate(
                [("done", "p1", "train"), ("done", None, "train"), ("done", "p3", "test"), ("skipped", "p4", "train")]
            )]  # fmt: skip
    tiled.write_table(pa.Table.from_pylist(rows), "slides.parquet")
    files = [{"name": "s0", "missing": True}, {"name": "s1", "identity": {"name": "s1.svs", "size": 5, "hash": "ab"}}]
    tiled.write_json({"inputs": {"slides": files}}, "manifest.json")
    own = [
        {"source": "tissue", "id": "s0", "unit": "p1", "hash": None, "labels": True},
        {"source": "tissue", "id": "s1", "unit": None, "hash": "5-ab", "labels": True},
    ]
    parent, child, grandchild = (Storage.open(tmp_path / name) for name in ("parent", "child", "grandchild"))
    write_sources(
        parent, [SourceInput("tissue", tiled)], labels=True, parent=Storage.open(tmp_path / "random"), split_seed=0
    )
    assert _seen(parent) == own
    plain = make_set(20)  # its slide table has neither patients nor splits
    write_sources(
        child, [SourceInput(plain.root, plain), SourceInput("tissue", tiled)], labels=False, parent=parent, split_seed=0
    )
    name = plain.root.rpartition("/")[2]
    others = [{"source": name, "id": f"s{i}", "unit": None, "hash": None, "labels": False} for i in range(4)]
    again = [row | {"labels": False} for row in own]  # seen twice: by a method with labels and by one without
    expected = sorted([*again, *own, *others], key=lambda row: (row["source"], row["id"]))
    assert _seen(child) == expected
    write_sources(grandchild, [labelled], labels=False, parent=child, split_seed=0)
    assert len(_seen(grandchild)) == 11 + len(_seen(child))
    assert [row for row in _seen(grandchild) if row["source"] != "toy"] == _seen(child)
    assert str(tmp_path) not in str(_seen(grandchild))


def test_a_list_of_an_earlier_version_does_not_tell_of_labels(labelled: SourceInput, tmp_path: Path) -> None:
    parent, child = Storage.open(tmp_path / "parent"), Storage.open(tmp_path / "child")
    write_sources(parent, [labelled], labels=True, parent=None, split_seed=0)
    parent.write_table(parent.read_table("sources.parquet").drop_columns("labels"), "sources.parquet")
    write_sources(child, [], labels=False, parent=parent, split_seed=0)
    assert read_sources(child).equals(read_sources(parent))
    assert set(read_sources(child)["labels"].to_pylist()) == {None}
