"""What a patch set makes of the columns of its slide table: whether it has what is asked of it, and the splits."""

from collections.abc import Mapping, Sequence
from typing import Literal

from raysweep.errors import RequestError
from raysweep.randomness import stable_hash
from raysweep.slides.labels.classes import classes_of
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import SlideEntry, SplitBy


def check_wants(spec: PatchSetSpec, slides: Sequence[SlideEntry]) -> None:
    """Raise RequestError when a key of the patch set needs a column or a value that no slide has."""
    columns = {column for slide in slides for column, cell in slide.columns.items() if cell}
    needs = [("labels.background_from", column) for column in spec.labels.background_from]
    needs += [("labels.values_by", spec.labels.values_by)] if spec.labels.values_by else []
    needs += [("split_within", spec.split_within)] if spec.split_within else []
    needs += [("labels", "annotations")] if spec.labels.reads_annotations else []
    needs += [("labels", "mask")] if spec.labels.reads_masks else []
    needs += [("tissue.method", spec.tissue.method)] if spec.tissue.method in ("mask", "annotations") else []
    for key, column in needs:
        if column not in columns:
            raise RequestError(f"{key}: needs the column `{column}` in the slide table, which names none; add it")
    classes_of(spec.labels, [slide.label for slide in slides if slide.label is not None])


def deal_splits(
    slides: Sequence[SlideEntry],
    fractions: Mapping[Literal["val", "test"], float],
    seed: int,
    split_by: SplitBy = "patient",
    within: str | None = None,
    copies: Sequence[Sequence[str]] = (),
) -> dict[str, str]:
    """The split (train, val or test) of each slide name; a unit, the patient or the site, is never on two sides.

    What the slide table says of a unit wins. The other units are dealt in the order of their hash, so the order of
    the slides does not matter: test and val get their fraction of them, rounded, at least one each where three or
    more units are dealt, and train the rest. With `within`, a column of the slide table, each of its values is dealt
    by itself; a unit has the value of its first slide by name. Units that share slides of one content, of which
    `copies` are the names, count as one.
    """
    unit_of = {slide.name: slide.unit(split_by) for slide in slides}
    for alike in copies:
        united = {unit_of[name] for name in alike if name in unit_of}
        unit_of = {name: min(united) if unit in united else unit for name, unit in unit_of.items()}
    units = {unit_of[slide.name]: slide.split for slide in slides if slide.split is not None}
    strata: dict[str, set[tuple[str, str]]] = {}
    seen: set[tuple[str, str]] = set(units)
    for slide in sorted(slides, key=lambda slide: slide.name):
        unit = unit_of[slide.name]
        if unit not in seen:
            strata.setdefault(slide.columns.get(within, "") if within else "", set()).add(unit)
            seen.add(unit)
    for stratum in strata.values():
        free = sorted(stratum, key=lambda u: (stable_hash(seed, "split", *u), u))
        start = 0
        names: tuple[Literal["test", "val"], ...] = ("test", "val")
        for name in names:
            fraction = fractions.get(name, 0.0)
            n = round(fraction * len(free))
            if fraction > 0 and n == 0 and len(free) >= 3:
                n = 1
            n = max(0, min(n, len(free) - start - 1))  # train keeps one
            units.update(dict.fromkeys(free[start : start + n], name))
            start += n
        units.update(dict.fromkeys(free[start:], "train"))
    return {name: str(units[unit]) for name, unit in unit_of.items()}
