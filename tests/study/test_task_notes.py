"""What plan and run say of labelled sets."""

from pathlib import Path

import numpy as np
from PIL import Image

from raysweep.storage import Artefact, Storage
from raysweep.study.task_notes import task_notes
from raysweep.study.tasks import TaskPlan
from raysweep.tasks.card import Card
from raysweep.tasks.task import index_task


def test_images_left_out_and_copies_are_told_by_task(tmp_path: Path) -> None:
    for side in ("train", "test"):
        for number, label in enumerate("ab"):
            (tmp_path / "toy" / side / label).mkdir(parents=True)
            pixels = np.full((8, 8, 3), 50 * number + (side == "train"), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "toy" / side / label / "0.png")
    keys = {"name": "toy", "kind": "classification", "classes": ["a", "b"], "source": "x", "licence": {"name": "CC0"},
            "root": "toy", "unit": "image", "splits": {"type": "given"}, "metrics": ["accuracy"],
            "layout": {"type": "image_folder", "splits": {"train": "train", "test": "test"}}}  # fmt: skip
    card = Card.model_validate(keys)

    def notes() -> list[str]:
        task = index_task(card, tmp_path)
        return task_notes({"toy": TaskPlan(task, Artefact(Storage.open(tmp_path / "t"), {}), 1)}, 0)

    assert notes() == []
    (tmp_path / "toy/train/a/1.png").write_bytes((tmp_path / "toy/test/b/0.png").read_bytes())
    (tmp_path / "toy/train/a/2.png").write_bytes(b"")
    left_out, copies = notes()
    assert left_out == (
        "task toy: 1 of 6 images cannot be used (first: train/a/2.png: the image cannot be read: it is empty; get it "
        "anew); `raysweep datasets prepare` lists them"
    )
    assert copies.startswith(
        "task toy: 1 of its tested images is trained on as well, with the same bytes (test/b/0.png ="
    )
