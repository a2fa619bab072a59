"""What a person wants to know of a labelled set before using it, counted from its files."""

from collections import Counter

import numpy as np
from PIL import Image

from raysweep.patches.codec import FORMATS
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task

_OPENED = 200  # images whose size is looked at


def task_facts(task: Task, *, seed: int = 0) -> list[tuple[str, str]]:
    """Pairs of what and how many: images, units, each class, sizes, the sides of each division with `seed`, left out.

    Raises RequestError where the units cannot be divided as the card says.
    """
    card, samples = task.card, task.samples
    of_class: dict[int, set[str]] = {number: set() for number in range(len(card.classes))}
    counts = Counter[int]()
    for sample in samples:
        for number in sample.classes:
            counts[number] += 1
            of_class[number].add(sample.unit)
    units = len({sample.unit for sample in samples})
    facts = [("images", f"{len(samples):,}"), ("size", _sizes(task))]
    if card.mpp:
        facts.append(("scale", f"{card.mpp:g} um per pixel" + (f", worked at {card.at_mpp:g}" if card.at_mpp else "")))
    facts.append((f"{card.unit}s", f"{units:,}" + (" (each by itself)" if card.unit == "image" else "")))
    for number, name in enumerate(card.classes):
        whose = "" if card.unit == "image" else f" of {len(of_class[number]):,} {card.unit}s"
        facts.append((f"class {name}", f"{counts[number]:,} images{whose}"))
    divisions = folds(task, seed)
    for fold in divisions:
        sides = {"train": fold.train, "val": fold.val or [], "test": fold.test}
        said = ", ".join(f"{side} {len(indices):,}" for side, indices in sides.items() if indices)
        facts.append((f"{card.splits.type}{f' {fold.index}' if len(divisions) > 1 else ''}", said))
    if task.excluded:
        facts.append(("cannot be used", f"{len(task.excluded):,} images"))
    return facts


def _sizes(task: Task) -> str:
    """The usual size, from so many images spread over all of them."""
    step = max(1, -(-len(task.samples) // _OPENED))
    found = Counter[tuple[int, int]]()
    for sample in task.samples[::step]:
        try:
            found[_size(task, sample.image)] += 1
        except Exception:  # it may have gone since the index was made
            continue
    if not found:
        return "not known: no image could be opened"
    if len(found) == 1:
        width, height = next(iter(found))
        return f"{width} x {height} px"
    low, high = np.min(list(found), axis=0), np.max(list(found), axis=0)
    (width, height), _ = found.most_common(1)[0]
    return f"{low[0]} to {high[0]} x {low[1]} to {high[1]} px, mostly {width} x {height}"


def _size(task: Task, image: str) -> tuple[int, int]:
    if task.reader.containers:
        return task.reader.size(image)
    with Image.open(task.root / image, formats=FORMATS) as picture:
        return picture.size
