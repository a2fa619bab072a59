"""Which places of a slide become patches, and with which label."""

import importlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysweep.errors import WorkError
from raysweep.randomness import stable_hash
from raysweep.slides.grid import Grid
from raysweep.slides.labels.labelled import Labelled
from raysweep.slides.labels.spec import LabelSpec
from raysweep.slides.places import Places


@dataclass(frozen=True)
class Choice:
    """The places to cut, with their labels, and how many others (annotations, where it says so) were left for what."""

    places: Places
    dropped: dict[str, int]


def choose(
    spec: LabelSpec,
    slide: Labelled,
    grid: Grid,
    places: Places,
    *,
    classes: Sequence[str],
    seed: int,
) -> Choice:
    """Label the places of a slide and drop those that no class takes.

    Args:
        spec: the rules.
        slide: what labels it.
        grid: of the slide; objects are cut with it.
        places: those of the grid with enough tissue.
        classes: their names in the order of the ids (`classes_of`).
        seed: of everything that is drawn.

    The label of a place is an index into `classes`, or -1 where the source is slide and the table gives none. Places
    cut around objects come first and count as all tissue.

    Raises WorkError when annotations or a mask are missing, cannot be read, or hold what no rule names.
    """
    missing = _missing(spec, slide)
    if missing is not None:
        return Choice(places.pick(np.empty(0, np.int64)), {f"no {missing}": len(places)})
    source = importlib.import_module(f"raysweep.slides.labels.sources.{spec.source}")
    dropped: Counter[str] = Counter()
    places = source.label(spec, slide, grid, places, classes, seed, dropped)
    if spec.source != "slide":
        places = _with_background(spec, slide, places, classes, dropped)
    if spec.per_class is not None:
        places = _capped(places, slide.name, spec.per_class, seed, dropped)
    return Choice(places, {reason: n for reason, n in dropped.items() if n})


def _missing(spec: LabelSpec, slide: Labelled) -> str | None:
    """What the slide needs and lacks, if for that it gives no patch."""
    for needed, found in (("annotations", slide.shapes), ("mask", slide.mask)):
        wanted = spec.reads_annotations if needed == "annotations" else spec.reads_masks
        if wanted and found is None and spec.absent != "background":
            if spec.absent == "fail":
                raise WorkError(
                    f"the slide table names no {needed} for this slide; name the file, "
                    "or say with labels.absent what such slides are"
                )
            return needed
    return None


def _with_background(
    spec: LabelSpec, slide: Labelled, places: Places, classes: Sequence[str], dropped: Counter[str]
) -> Places:
    """Places that no class claims become background where that is wanted."""
    free = places.label < 0
    if spec.background is None:
        dropped["no class"] += int(free.sum())
    elif all(slide.columns.get(column, "") in values for column, values in spec.background_from.items()):
        return places.but(label=np.where(free, classes.index(spec.background), places.label).astype(np.int32))
    else:
        dropped["background of a slide that gives none"] += int(free.sum())
    return places.pick(~free)


def _capped(places: Places, name: str, most: int, seed: int, dropped: Counter[str]) -> Places:
    """At most `most` places of each class, those of the lowest hash."""
    keep = np.ones(len(places), bool)
    for label in np.unique(places.label[places.label >= 0]):
        index = np.flatnonzero(places.label == label)
        if len(index) > most:
            hashes = [stable_hash(seed, "class cap", name, x, y) for x, y in places.corner[index].tolist()]
            keep[index[np.argsort(np.array(hashes, np.uint64), kind="stable")[most:]]] = False
    dropped["class cap"] += int((~keep).sum())
    return places.pick(keep)
