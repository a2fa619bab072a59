"""Tiny cards, folders and tasks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raysweep.tasks.card import Card
from raysweep.tasks.sample import Sample
from raysweep.tasks.task import Task


@pytest.fixture(scope="session")
def make_card() -> Callable[..., Card]:
    """A card with everything at a plain value; keywords replace."""

    def make(kind: str = "classification", **keys: Any) -> Card:
        plain = {
            "name": "toy",
            "kind": kind,
            "classes": ["a", "b"] if kind == "classification" else ["background", "gland"],
            "source": "made by a test",
            "licence": {"name": "CC0"},
            "root": "toy",
            "layout": {"type": "csv", "file": "labels.csv", "label": "label", "unit": "patient", "mask": "{mask}"},
            "unit": "patient",
            "metrics": ["accuracy" if kind == "classification" else "dice"],
        }
        return Card.model_validate({**plain, **keys})

    return make


@pytest.fixture(scope="session")
def write_image() -> Callable[..., None]:
    """Write a picture of one value, or an array, making its folder."""

    def write(path: Path, pixels: Any = 100, size: tuple[int, int] = (8, 8)) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        array = pixels if isinstance(pixels, np.ndarray) else np.full((size[1], size[0], 3), pixels, np.uint8)
        Image.fromarray(array).save(path)

    return write


@pytest.fixture(scope="session")
def make_task(make_card: Callable[..., Card]) -> Callable[..., Task]:
    """A task without files: (unit, label) pairs, or (unit, classes shown) for segmentation."""

    def make(rows: list[tuple[str, Any]], **keys: Any) -> Task:
        kind = keys.pop("kind", "classification")
        samples = []
        for number, (unit, what) in enumerate(rows):
            name = f"{number:04d}.png"
            if kind == "classification":
                samples.append(Sample(name, name, None, what, unit))
            else:
                samples.append(Sample(name, name, name, None, unit, None, tuple(what)))
        labels = {c for sample in samples for c in sample.classes}
        keys.setdefault("classes", [f"class{i}" for i in range(max([2, *(c + 1 for c in labels)]))])
        return Task(make_card(kind, **keys), Path("/nowhere"), samples)

    return make
