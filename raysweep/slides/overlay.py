"""A picture of what was taken from a slide."""

import io

import numpy as np
from PIL import Image, ImageDraw

from raysweep.slides.survey import Survey

_LONGEST = 1024
# Green, blue and vermilion of Okabe and Ito: told apart by colour-blind eyes.
_TISSUE, _PATCH, _EXCLUDED = (0, 158, 115), (0, 114, 178), (213, 94, 0)


def draw_overlay(survey: Survey) -> bytes:
    """JPEG of the thumbnail with the outlines of the tissue (green), of what was cut out of it (orange) and of every
    kept patch (blue)."""
    assert survey.thumbnail is not None
    image = Image.fromarray(survey.thumbnail)
    image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BOX)
    pixels = np.array(image)
    if survey.tissue is not None:
        for mask in survey.tissue.excluded.values():
            pixels[_outline(_shrunk(mask, image.size))] = _EXCLUDED
        pixels[_outline(_shrunk(survey.tissue.mask, image.size))] = _TISSUE
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    if survey.grid is not None:
        scale = [size / edge for size, edge in zip(survey.size, image.size, strict=True)]
        for region in survey.regions:
            for box in region.rects(survey.grid.downsample) / (scale * 2):
                draw.rectangle([round(edge) for edge in box], outline=_PATCH)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=80, subsampling=0)  # thin coloured lines stay crisp
    return sink.getvalue()


def _shrunk(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _outline(mask: np.ndarray) -> np.ndarray:
    """Pixels of the mask that touch one outside it."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
