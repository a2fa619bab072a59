"""What is tested and trained on at once, though units are kept apart: copies of images, and units under two names."""

from collections.abc import Sequence

import numpy as np

from raysweep.tasks.identity import unpadded_name
from raysweep.tasks.splits import Fold
from raysweep.tasks.task import Task


def on_both_sides(task: Task, divisions: Sequence[Fold]) -> list[str]:
    """A sentence for each of these that there is in any division of a task; none where there is nothing.

    Images are told by their bytes, units by `unpadded_name`. Val counts as trained on.
    """
    ids = [sample.id for sample in task.samples]
    said = []
    copies = _shared(_codes([identity for _, identity in task.image_identities()]), divisions)
    if copies:
        n, tested, trained = copies
        said.append(
            f"{n} of its tested images {'are' if n > 1 else 'is'} trained on as well, with the same bytes "
            f"({ids[tested]} = {ids[trained]}): scores are too good; remove one of each"
        )
    if task.card.unit == "image":
        return said
    plain = {unit: unpadded_name(unit) for unit in {sample.unit for sample in task.samples}}
    names = _shared(_codes([plain[sample.unit] for sample in task.samples]), divisions)
    if names:
        n, tested, trained = names
        said.append(
            f"{n} of its tested images are of {task.card.unit}s that may be trained on under another name "
            f"({task.samples[tested].unit} ~ {task.samples[trained].unit}): if they are one, write them alike"
        )
    return said


def _codes(names: Sequence[str]) -> np.ndarray:
    """A number for each different name, int64 (N,); -1 for an empty one."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(name, len(known)) if name else -1 for name in names], dtype=np.int64)


def _shared(codes: np.ndarray, divisions: Sequence[Fold]) -> tuple[int, int, int] | None:
    """How many samples are tested where one with the same code is trained on, and the first of them with that one."""
    found, first = set[int](), None
    for fold in divisions:
        test, train = np.array(fold.test, dtype=np.int64), np.array([*fold.train, *(fold.val or ())], dtype=np.int64)
        both = test[(codes[test] >= 0) & np.isin(codes[test], codes[train])]
        found.update(both.tolist())
        if first is None and len(both):
            first = int(both[0]), int(train[codes[train] == codes[both[0]]][0])
    return (len(found), *first) if first else None
