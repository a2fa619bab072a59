"""What a study's data are: licences, exclusions, how tasks are divided, and patches by label and patient."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysweep.errors import RequestError, WorkError
from raysweep.patches.outcomes import SlideOutcome, read_outcomes
from raysweep.report.licences import licences_table
from raysweep.report.tables import Table
from raysweep.storage import Storage
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task

_EXCLUDED = ("of", "set", "name", "status", "reason")
_SPLITS = ("task", "division", "part", "unit", "units", "images", "by class")
_PATCHES = ("patch set", "label", "split", "slides", "patients", "patches", "fewest of a patient",
            "most of a patient")  # fmt: skip


@dataclass(frozen=True)
class DataFacts:
    """Tables, and a warning where a licence forbids commercial use (else empty)."""

    licences: Table
    warning: str
    excluded: Table
    splits: Table
    patches: Table


def read_data(
    tasks: Mapping[str, Storage], checkpoints: Mapping[str, Sequence[Storage]], patch_sets: Mapping[str, Storage],
    seed: int,
) -> DataFacts:  # fmt: skip
    """From the indexes of tasks, the heads of checkpoints and the slide tables of patch sets; what cannot be read is
    left out here, since other tables say so. seed: the study's, by which drawn divisions were drawn."""
    loaded = {name: found for name, folder in tasks.items() if (found := _load(folder))}
    licences, warning = licences_table({name: task.card for name, task in loaded.items()}, checkpoints)
    slides = {name: _outcomes(folder) for name, folder in patch_sets.items()}
    return DataFacts(
        licences,
        warning,
        Table("excluded", _EXCLUDED, [*_slides_out(slides), *_images_out(loaded)]),
        Table("splits", _SPLITS, [row for name, task in loaded.items() for row in _divided(name, task, seed)],
              frozenset({"units", "images"})),
        Table("patches", _PATCHES, [row for name, rows in slides.items() for row in _by_label(name, rows)],
              frozenset(_PATCHES[3:])),
    )  # fmt: skip


def _load(folder: Storage) -> Task | None:
    """The task without its images: nothing here opens one."""
    try:
        return Task.load(folder, None)
    except (OSError, KeyError, ValueError, RequestError, WorkError, pa.ArrowException):
        return None


def _outcomes(folder: Storage) -> list[SlideOutcome]:
    try:
        return read_outcomes(folder)
    except (OSError, TypeError, pa.ArrowException):
        return []


def _slides_out(slides: Mapping[str, Sequence[SlideOutcome]]) -> list[list[str]]:
    return [["slide", name, row.slide, row.status, row.reason or ""]
            for name, rows in slides.items() for row in rows if row.status != "done"]  # fmt: skip


def _images_out(tasks: Mapping[str, Task]) -> list[list[str]]:
    return [["image", name, sample, "left out", reason] for name, task in tasks.items()
            for sample, reason in task.excluded]  # fmt: skip


def _divided(name: str, task: Task, seed: int) -> list[list[str]]:
    """Units and images of each part of each division; images by class, in brackets their units."""
    try:
        divisions = folds(task, seed)
    except RequestError:
        return []
    columns, out = task.columns, []
    for fold in divisions:
        which = f"{fold.index + 1} of {len(divisions)}" if len(divisions) > 1 else ""
        for part, members in (("train", fold.train), ("val", fold.val or []), ("test", fold.test)):
            if not members:
                continue
            units, counts = columns.counts(np.array(members))
            shown, of = counts[:, :-1].sum(0), (counts[:, :-1] > 0).sum(0)
            by_class = [f"{label} {n} ({u})" for label, n, u in zip(task.card.classes, shown, of, strict=True) if n]
            out.append([name, which, part, task.card.unit, str(len(units)), str(len(members)), ", ".join(by_class)])
    return out


def _by_label(name: str, rows: Sequence[SlideOutcome]) -> list[list[str]]:
    """Of slides that are done, by the slide's own label and split."""
    groups: dict[tuple[str, str], list[SlideOutcome]] = {}
    for row in rows:
        if row.status == "done":
            groups.setdefault((row.label or "", row.split or ""), []).append(row)
    out = []
    for (label, split), own in sorted(groups.items()):
        patients = Counter[str]()
        for row in own:
            if row.patient:
                patients[row.patient] += row.n_patches or 0
        ends = [str(min(patients.values())), str(max(patients.values()))] if patients else ["", ""]
        out.append([name, label, split, str(len(own)), str(len(patients)) if patients else "",
                    str(sum(row.n_patches or 0 for row in own)), *ends])  # fmt: skip
    return out
