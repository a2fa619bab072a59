"""The stains a slide can have, and what each means for telling tissue from artefacts."""

from dataclasses import dataclass

from raysweep.errors import RequestError


@dataclass(frozen=True)
class Stain:
    """What a stain allows.

    Attributes:
        saturation: HSV saturation, of 255, that is tissue whatever a slide's own threshold; for the method `otsu`.
        hues: ranges of HSV hue in degrees, (from, to) clockwise, that its tissue has; for the method `hsv`.
        pens: colours of pen marks that cannot be mistaken for it.
        folds: whether a fold is told by its density; not where the stain itself is that uneven.
        blur: a patch is blurred below this sharpness (see `flaws`).
    """

    saturation: int
    hues: tuple[tuple[float, float], ...]
    pens: tuple[str, ...]
    folds: bool
    blur: float


# At 51 a fifth of the H&E tissue of the test data was lost, and half of it recoloured as faint immunohistochemistry.
_STRONG, _FAINT = 26, 20
_EVERY_HUE = ((0.0, 360.0),)
_BLUR = 0.14  # between the sharp and the blurred patches that tests/slides/tissue/test_flaws.py measures

STAINS = {
    "he": Stain(
        saturation=_STRONG,
        hues=((190.0, 20.0),),  # haematoxylin is blue to violet, eosin pink to red
        pens=("black", "blue", "green", "red"),
        folds=True,
        blur=_BLUR,
    ),
    "ihc": Stain(
        saturation=_FAINT,
        hues=((180.0, 60.0),),  # blue counterstain, red AEC, brown DAB
        pens=("black", "blue", "green"),  # AEC is as red as a pen
        folds=False,
        blur=_BLUR,
    ),
    "cytology": Stain(
        saturation=_FAINT,
        hues=_EVERY_HUE,  # Papanicolaou's cytoplasm is green, blue, orange or pink
        pens=("black",),  # Diff-Quik is as blue as a pen, Papanicolaou as green and as red
        folds=False,
        blur=0.7 * _BLUR,  # cells lie at several depths: some are out of focus beside sharp ones
    ),
    "trichrome": Stain(
        saturation=_FAINT,
        hues=_EVERY_HUE,  # collagen is blue or green, muscle red
        pens=("black",),
        folds=False,
        blur=_BLUR,
    ),
}


def find_stain(name: str) -> Stain:
    """A stain by name. Raises RequestError when there is none of that name."""
    if name not in STAINS:
        raise RequestError(f"stain {name}: there is none of that name; write one of {', '.join(STAINS)}")
    return STAINS[name]
