"""Tasks of a few drawn images, and jobs of a few steps on them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from raysweep.storage import Storage
from raysweep.tasks.card import Card
from raysweep.tasks.sample import Sample
from raysweep.tasks.task import Task
from raysweep.transfer.images import Images, open_images
from raysweep.transfer.job import Job

PX = 32


def make_task(folder: Path, kind: str, sizes: list[tuple[int, int]], *, px: int = PX) -> Task:
    """One image per size (height, width). Class 1 is bright where class 0 is dark; two units of each class."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    samples = []
    for i, (height, width) in enumerate(sizes):
        mask = np.zeros((height, width), np.uint8)
        if kind == "classification":
            mask[:] = i % 2
        else:
            mask[: height // 2 + i % 3, width // 4 :] = 1
        image = rng.normal(90 + 70 * mask[..., None], 30, (height, width, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"images/{i}.png")
        Image.fromarray(mask).save(folder / f"masks/{i}.png")
        samples.append(
            Sample(str(i), f"images/{i}.png", None if kind == "classification" else f"masks/{i}.png",
                   i % 2 if kind == "classification" else None, f"unit{i % 4}")
        )  # fmt: skip
    layout = {"type": "image_mask_pairs"} if kind == "segmentation" else {"type": "image_folder"}
    card = Card.model_validate(
        {"name": "tiny", "kind": kind, "classes": ["dark", "bright"], "source": "drawn", "licence": {"name": "CC0"},
         "root": ".", "layout": layout, "unit": "patient", "px": px,
         "metrics": ["balanced_accuracy" if kind == "classification" else "dice"]}
    )  # fmt: skip
    return Task(card, folder, samples)


def data_of(task: Storage) -> str:
    """The `data` folder of a task that the fixture `saved_task` saved: it stands beside the task's."""
    return str(Path(task.root).parent / "data")


def open_saved(task: Storage) -> Images:
    """The samples of a task that the fixture `saved_task` saved."""
    return open_images(task, data_of(task))


def make_job(checkpoint: Storage, task: Storage, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "checkpoint": checkpoint, "task": task, "data": data_of(task), "fold": 0,
        "train": [0, 1, 2, 3, 4, 5], "val": [6, 7], "params": {"lr": 3e-3},
        "steps": 6, "evaluations": 2, "batch": 4, "select": "val_metric", "seed": 1,
    }  # fmt: skip
    return Job(**{**values, **changes})
