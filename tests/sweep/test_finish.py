"""What the rows of a finished repeat count."""

from pathlib import Path

from raysweep.storage import Storage
from raysweep.tasks.card import Card
from raysweep.tasks.sample import Sample
from raysweep.tasks.task import Task
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import simulate, toy_cells


def test_an_image_that_several_divisions_test_is_one_image(tmp_path: Path) -> None:
    """And so is one of a further test set, which every fold's model is tested on."""
    transfer = TransferSpec(trials=1, repeats=1)
    (cell,) = toy_cells(tmp_path, transfer, checkpoints="a", test_sets=("far",))
    task: Storage = cell.task_folder
    card: Card = Task.load(task, tmp_path).card
    divided = {"type": "repeated", "file": "d.csv", "divisions": ["one", "two"]}
    card = Card.model_validate({**card.model_dump(mode="json", exclude_none=True), "splits": divided})
    sides = [("test", "test"), ("test", "train"), ("train", "test"), *[("train", "train")] * 21]
    samples = [Sample(f"s{i:03d}", f"{i}.png", None, (i // 2) % 2, f"p{i // 2}", sides=sides[i // 2])
               for i in range(48)]  # fmt: skip
    Task(card, tmp_path, samples).save(task)
    assert simulate([cell], transfer) == {}
    folder = cell.repeats[0].artefact.folder
    rows = folder.read_table("final.parquet").to_pylist()
    assert {(r["test_set"], r["n_folds"], r["n_test_images"], r["n_test_units"]) for r in rows} == {
        ("toy-task", 2, 6, 3), ("far", 2, 10, 5)
    }  # fmt: skip
    assert folder.read_table("predictions", "toy-task.parquet").num_rows == 8
