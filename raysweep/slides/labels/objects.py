"""The annotations of a slide by class."""

from collections.abc import Iterator, Sequence

from shapely.geometry.base import BaseGeometry

from raysweep.errors import WorkError
from raysweep.slides.labels.choose import Labelled
from raysweep.slides.labels.spec import LabelSpec


def objects(spec: LabelSpec, slide: Labelled, classes: Sequence[str]) -> Iterator[tuple[int | None, BaseGeometry]]:
    """Each annotation that counts, with the id of its class; None for those to subtract.

    Raises WorkError for a name that no rule names.
    """
    homes: dict[str, int | None] = dict.fromkeys(spec.subtract)
    homes |= {name: classes.index(home) for home, names in spec.classes.items() for name in names}
    for shape in slide.shapes or ():
        if shape.name in spec.ignore:
            continue
        if shape.name not in homes:
            raise WorkError(
                f"annotations {slide.columns.get('annotations') or 'of the slide'}: no rule names the class "
                f"{shape.name}; add it to labels.classes, labels.subtract or labels.ignore"
            )
        yield homes[shape.name], shape.geometry
