"""What a person should look at before trusting a labelled set: files passed by, pictures that are there twice."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from raysweep.errors import WorkError
from raysweep.tasks.disk import files_below, nfc
from raysweep.tasks.files import IMAGE_SUFFIXES
from raysweep.tasks.find import find_everything
from raysweep.tasks.identity import unpadded_name
from raysweep.tasks.look import look_alikes, resemble
from raysweep.tasks.sample import LeftOut, Sample
from raysweep.tasks.task import Task

_SHOWN = 5  # examples of each thing
_CHECKED = 200  # of pairs that may look alike: so many are opened and compared


@dataclass(frozen=True)
class Oddities:
    """Counts, and a few examples as pairs of ids, the earlier one first.

    `leftovers` are image files by the folder that makes them one (`.ipynb_checkpoints`), `passed_by` all other files
    that no sample uses, by suffix; `left_out` counts images that the card's filters leave out. `two_classes`,
    `two_splits` and `two_units` are pictures of the same bytes, `alike` pairs that only look alike, of different
    units; of these at most one more than are shown. `alike_units` are names that differ in how they are written alone.
    """

    unit: str
    left_out: int
    leftovers: dict[str, int]
    passed_by: dict[str, int]
    two_classes: list[tuple[str, str]]
    two_splits: list[tuple[str, str]]
    two_units: list[tuple[str, str]]
    alike: list[tuple[str, str]]
    alike_units: list[tuple[str, str]]

    def lines(self) -> list[str]:
        """One line for each thing that was found."""
        said = []
        if self.left_out:
            said.append(f"left out by the card's filters: {self.left_out} images")
        if self.leftovers:
            said.append(f"left by tools, not images of the set: {_counts(self.leftovers)}")
        if self.passed_by:
            said.append(f"files passed by: {_counts(self.passed_by)}")
        for pairs, where in (
            (self.two_classes, "under two classes"),
            (self.two_splits, "in two splits"),
            (self.two_units, "under two names" if self.unit == "image" else f"of two {self.unit}s"),
        ):
            if pairs:
                said.append(f"the same bytes {where}, {len(pairs)} times: {_examples(pairs, '=')}")
        if self.alike:
            whose = "images" if self.unit == "image" else f"images of different {self.unit}s"
            said.append(f"{whose} that look alike: {_examples(self.alike, '~')}")
        if self.alike_units:
            said.append(
                f"{self.unit}s that may be one, with names written in two ways: {_examples(self.alike_units, '~')}"
            )
        return said


def find_oddities(task: Task) -> Oddities:
    """Look at all files below the task's root, and at what its index says of them; images are opened again only to see
    whether those that may look alike do.

    Raises RequestError for a folder that cannot be listed.
    """
    found = find_everything(task.card, task.root)
    leftovers, passed_by = _unused(task, found)
    groups: dict[str, list[Sample]] = {}
    identities = []
    for sample, identity in task.image_identities():
        identities.append(identity)
        if identity:
            groups.setdefault(identity, []).append(sample)
    copies = [group for group in groups.values() if len(group) > 1]
    looks = [seen.look for seen in task.examined] or [0] * len(task.samples)
    alike = look_alikes(looks, [sample.unit for sample in task.samples], identities)
    return Oddities(
        unit=task.card.unit,
        left_out=sum(isinstance(one, LeftOut) for one in found),
        leftovers=leftovers,
        passed_by=passed_by,
        two_classes=_differing(copies, lambda sample: sample.label),
        two_splits=_differing(copies, lambda sample: sample.split),
        two_units=_differing(copies, lambda sample: sample.unit),
        alike=_that_resemble(task, alike),
        alike_units=[] if task.card.unit == "image" else _alike_units(task.samples),
    )


def _unused(task: Task, found: list[Sample | LeftOut]) -> tuple[dict[str, int], dict[str, int]]:
    """Files that no sample uses and no filter leaves out: image files that tools left, by the name of the leftover; all
    others, by suffix."""
    used = {task.reader.part(path)[0] for sample in found for path in (sample.image, sample.mask) if path is not None}
    types = {os.path.splitext(path)[1].lower() for path in used}
    leftovers, passed_by = Counter[str](), Counter[str]()
    for path, left in files_below(task.root, leftovers=True):
        if path in used:
            continue
        suffix = os.path.splitext(path)[1]
        if left is None:
            passed_by[nfc(suffix) or "without a suffix"] += 1
        elif suffix.lower() in types or suffix.lower() in IMAGE_SUFFIXES:
            leftovers["hidden files" if left == Path(path).name else left] += 1
    return _most_first(leftovers), _most_first(passed_by)


def _that_resemble(task: Task, pairs: list[tuple[int, int]]) -> list[tuple[str, str]]:
    """Ids of the pairs that do look alike, until there are more than are shown."""
    found: list[tuple[str, str]] = []
    for a, b in pairs[:_CHECKED]:
        one, other = task.samples[a], task.samples[b]
        try:
            alike = resemble(task.reader.image(one.image), task.reader.image(other.image))
        except (OSError, WorkError):
            continue  # it was read a moment ago: whoever uses it next says what became of it
        if alike:
            found.append((one.id, other.id))
        if len(found) > _SHOWN:
            break
    return found


def _alike_units(samples: Iterable[Sample]) -> list[tuple[str, str]]:
    """Units whose names are the same but for how they are written, such as `P-007` and `p7`."""
    groups: dict[str, list[str]] = {}
    for unit in sorted({sample.unit for sample in samples}):
        groups.setdefault(unpadded_name(unit), []).append(unit)
    return [(first, other) for first, *others in groups.values() for other in others]


def _differing(groups: Iterable[list[Sample]], key: Callable[[Sample], object]) -> list[tuple[str, str]]:
    """Of each group whose samples differ in a key, the first one and the first that differs from it."""
    pairs = []
    for first, *others in groups:
        other = next((sample for sample in others if key(sample) != key(first)), None)
        if other is not None:
            pairs.append((first.id, other.id))
    return sorted(pairs)


def _most_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _examples(pairs: list[tuple[str, str]], sign: str) -> str:
    shown = "; ".join(f"{a} {sign} {b}" for a, b in pairs[:_SHOWN])
    return shown + (", ..." if len(pairs) > _SHOWN else "")
