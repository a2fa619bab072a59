"""What may label the patches of a slide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raysweep.slides.annotations.shapes import Shape
from raysweep.slides.readers.mask_image import MaskSlide


@dataclass(frozen=True)
class Labelled:
    """A slide with what may label it.

    Attributes:
        name: of the slide.
        label: of the slide, as its table has it.
        columns: the slide table's row.
        shapes: its annotations; None where the table names no file.
        mask: its mask slide; None where the table names none.
    """

    name: str
    label: str | None
    columns: Mapping[str, str]
    shapes: Sequence[Shape] | None
    mask: MaskSlide | None
