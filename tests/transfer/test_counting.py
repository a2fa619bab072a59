"""Masks counted for prediction files, against the files that number their objects."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raysweep.errors import RequestError, WorkError
from raysweep.tasks.card import Card, Objects
from raysweep.tasks.masks import IGNORED
from raysweep.tasks.read import read_sample
from raysweep.tasks.sample import Sample
from raysweep.tasks.task import Task
from raysweep.transfer.counting import MaskCounts, check_objects, predicted_objects
from raysweep.transfer.metrics import per_class, score
from raysweep.transfer.schema import SEGMENTATION_PREDICTIONS, predictions_schema

NUMBERS = [
    [[1, 1, 0, 0, 2, 2], [1, 1, 0, 0, 2, 2], [0, 0, 0, 0, 2, 2]],
    [[0, 0, 0, 300, 300, 0], [0, 0, 0, 300, 300, 0], [0, 0, 0, 0, 0, 0]],
]


def numbered(folder: Path, metrics: list[str], **card: Any) -> Task:
    """Two images of objects that their masks number, each number twice as wide and high as in NUMBERS."""
    (folder / "masks").mkdir(parents=True)
    (folder / "images").mkdir()
    for i, numbers in enumerate(NUMBERS):
        mask = np.kron(np.array(numbers, np.int32), np.ones((2, 2), np.int32)).astype(np.uint16)
        Image.fromarray(mask).save(folder / f"masks/{i}.png")
        Image.new("RGB", (12, 6)).save(folder / f"images/{i}.png")
    samples = [Sample(str(i), f"images/{i}.png", f"masks/{i}.png", None, f"u{i}") for i in range(2)]
    values = {"name": "numbered", "kind": "segmentation", "classes": ["stroma", "gland"], "source": "drawn",
              "licence": {"name": "CC0"}, "root": ".", "unit": "image", "metrics": metrics, "mpp": 0.5, "at_mpp": 1.0,
              "layout": {"type": "image_mask_pairs", "masks": {"binarise": True}}}  # fmt: skip
    return Task(Card.model_validate(values | card), folder, samples)


def counted(task: Task, *guesses: list[list[int]], ignored: np.ndarray | None = None):
    counts = MaskCounts(task, [0, 1][: len(guesses)], task.card.metrics)
    for index, guess in enumerate(guesses):
        truth = read_sample(task, index)[1]
        assert truth is not None
        if ignored is not None:
            truth[ignored] = IGNORED
        counts.add(np.array(guess), truth)
    return counts.table(fold=3)


RIGHT = [(np.array(numbers) > 0).astype(int).tolist() for numbers in NUMBERS]


def test_a_perfect_mask_at_the_scale_of_the_card(tmp_path: Path) -> None:
    names = ["dice", "pq", "object_dice", "object_f1", "aji"]
    task = numbered(tmp_path, names)
    table = counted(task, *RIGHT)
    assert table.schema.equals(predictions_schema("segmentation", names))
    assert table["fold"].to_pylist() == [3, 3]
    assert [score(table, name, "segmentation") for name in names] == [1] * 5
    assert table["pq"].to_pylist() == [[2, 2, 0, 0], [1, 1, 0, 0]]


def test_objects_are_counted_only_when_asked(tmp_path: Path) -> None:
    task = numbered(tmp_path, ["dice", "image_dice"])
    (tmp_path / "masks/1.png").rename(tmp_path / "masks/gone.png")
    counts = MaskCounts(task, [1], task.card.metrics)
    counts.add(np.array(RIGHT[1]), np.array(RIGHT[1]))
    assert counts.table(fold=0).schema.equals(SEGMENTATION_PREDICTIONS)
    counts = MaskCounts(task, [1], ["pq"])
    with pytest.raises(WorkError, match=r"task numbered: .*masks/1.png cannot be read"):
        counts.add(np.array(RIGHT[1]), np.array(RIGHT[1]))


def test_components_that_touch_at_a_corner(tmp_path: Path) -> None:
    guess = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 2, 0, 0, 1]])
    assert len(np.unique(predicted_objects(guess, Objects()))) - 1 == 2
    assert len(np.unique(predicted_objects(guess, Objects(connectivity=4)))) - 1 == 3
    large = predicted_objects(guess, Objects(connectivity=4, min_px=2))
    assert (large > 0).tolist() == [[True, True, False, False, False, False], [False] * 6]
    assert large.dtype == np.int32
    assert Objects().name == "8-connected components"
    assert Objects(connectivity=4, min_px=20).name == "4-connected components of at least 20 px"
    for options, expected in (({}, [1, 1, 0, 1]), ({"connectivity": 4, "min_px": 3}, [1, 1, 0, 1])):
        task = numbered(tmp_path / f"{len(options)}", ["pq"], objects=options)
        one = [[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
        assert counted(task, one)["pq"].to_pylist() == [expected]


def test_ignored_pixels_are_of_no_object(tmp_path: Path) -> None:
    """The right gland lies where nothing is known: neither missed nor, when predicted, false."""
    task = numbered(tmp_path, ["dice", "object_f1", "pq"])
    ignored = np.zeros((3, 6), bool)
    ignored[:, 3:] = True
    for guess in (RIGHT[0], (np.array(RIGHT[0]) * ~ignored).tolist()):
        table = counted(task, guess, ignored=ignored)
        assert [score(table, name, "segmentation") for name in ("dice", "object_f1", "pq")] == [1, 1, 1]
        assert per_class(table, "segmentation", "dice") == [1, 1]
        assert table["object_f1"].to_pylist() == [[1, 0, 0]]
        assert sum(table["tp"].to_pylist()[0]) == 9


def test_cards_whose_masks_number_nothing_are_refused(tmp_path: Path) -> None:
    check_objects(numbered(tmp_path / "a", ["dice", "pq"]).card)
    plain = {"type": "image_mask_pairs"}
    check_objects(numbered(tmp_path / "b", ["dice"], layout=plain).card)
    with pytest.raises(RequestError, match="card numbered: metrics: aji compares objects, and the masks"):
        check_objects(numbered(tmp_path / "c", ["dice", "aji"], layout=plain).card)
