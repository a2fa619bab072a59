"""One label for all patches of a slide, from the slide table."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from raysweep.errors import WorkError
from raysweep.slides.grid import Grid
from raysweep.slides.labels.labelled import Labelled
from raysweep.slides.labels.spec import LabelSpec
from raysweep.slides.places import Places


def label(
    spec: LabelSpec,
    slide: Labelled,
    grid: Grid,
    places: Places,
    classes: Sequence[str],
    seed: int,
    dropped: Counter[str],
) -> Places:
    """All places with the slide's class; a slide without a label keeps its places without one."""
    if slide.label is None:
        return places
    if slide.label in spec.ignore:
        dropped["ignored label"] += len(places)
        return places.pick(np.empty(0, np.int64))
    homes = [name for name, labels in spec.classes.items() if slide.label in labels] if spec.classes else [slide.label]
    if not homes or homes[0] not in classes:
        raise WorkError(
            f"the slide's label is {slide.label}, which no class names; add it to labels.classes or labels.ignore"
        )
    return places.but(label=np.full(len(places), classes.index(homes[0]), np.int32))
