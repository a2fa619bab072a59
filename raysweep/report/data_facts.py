"""What a study's data are: licences, exclusions, how tasks are divided, and patches by label and patient."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raysweep.errors import RequestError, WorkError
from raysweep.patches.outcomes import SlideOutcome, read_outcomes
from raysweep.report.tables import Table
from raysweep.storage import Storage
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task

_LICENCES = ("of", "name", "licence", "commercial use", "terms")
_EXCLUDED = ("of", "set", "name", "status", "reason")
_SPLITS = ("task", "division", "part", "unit", "units", "images", "by class")
_PATCHES = ("patch set", "label", "split", "slides", "patients", "patches", "fewest of a patient",
            "most of a patient")  # fmt: skip
_FORBIDDEN = re.compile(r"\bnc\b|non.?commercial|no commercial|research(?: use)? only|academic use", re.IGNORECASE)
_FREE = re.compile(r"apache|\bmit\b|\bbsd\b|\bcc0\b|^cc.by(?:.sa)?(?:.[\d.]+)?$|public domain", re.IGNORECASE)


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
    licences = [*_of_tasks(loaded), *_of_weights(checkpoints)]
    barred = [f"{name} ({licence})" for _, name, licence, commercial, _ in licences if commercial == "forbidden"]
    warning = f"Commercial use is forbidden by the licence of {', '.join(barred)}." if barred else ""
    slides = {name: _outcomes(folder) for name, folder in patch_sets.items()}
    return DataFacts(
        Table("licences", _LICENCES, licences),
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
        return Task.load(folder, ".")
    except (OSError, KeyError, ValueError, RequestError, WorkError, pa.ArrowException):
        return None


def _of_tasks(tasks: Mapping[str, Task]) -> list[list[str]]:
    out = []
    for name, task in tasks.items():
        terms = task.card.licence
        out.append(["data", name, terms.name, _commercial(terms.name), terms.url or ""])
    return out


def _of_weights(checkpoints: Mapping[str, Sequence[Storage]]) -> list[list[str]]:
    """Of each checkpoint, and of what it was trained from where that says something else."""
    from raysweep.backbones.checkpoint import read_info

    out = []
    for name, places in checkpoints.items():
        info = None
        for folder in places:
            try:
                info = read_info(folder)
                break
            except (OSError, RequestError):  # not finished, or damaged
                continue
        if info is None:
            continue
        steps = [*info.parents, info.model_dump()]
        said = dict.fromkeys(str(s["licence"]) for s in steps if s.get("licence"))
        commercial = _published(steps)
        for licence in said or ["not stated"]:
            drawn = licence == "not stated" and steps[0].get("init") == "random"
            words = "own weights" if drawn else licence
            own = commercial if commercial and licence == next(iter(said), "") else _commercial(licence)
            out.append(["weights", name, words, "" if drawn else own, ""])
    return out


def _published(steps: Sequence[Mapping[str, Any]]) -> str:
    """What the card of a published model says of commercial use; empty where there is none."""
    from raysweep.backbones.published import PREFIX, find_card

    init = str(steps[0].get("init") or "")
    if not init.startswith(PREFIX):
        return ""
    try:
        found = find_card(init.removeprefix(PREFIX).split(":")[0]).licence.commercial
    except RequestError:
        return ""
    return "not known" if found == "unknown" else found


def _commercial(licence: str) -> str:
    """By the words of a licence's name; what is not plain from them is `not known`."""
    if _FORBIDDEN.search(licence.replace("_", "-").replace("-", " ")):
        return "forbidden"
    return "allowed" if _FREE.search(licence) else "not known"


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
