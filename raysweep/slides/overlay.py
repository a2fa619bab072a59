"""A picture of what was taken from a slide."""

import io

import numpy as np
from PIL import Image, ImageDraw

from raysweep.slides.survey import Survey

_LONGEST = 1024
_TISSUE, _PATCH = (0, 158, 115), (0, 114, 178)  # green and blue of Okabe and Ito: told apart by colour-blind eyes


def draw_overlay(survey: Survey) -> bytes:
    """JPEG of the thumbnail with the outline of the tissue (green) and of every kept patch (blue)."""
    assert survey.thumbnail is not None
    assert survey.mask is not None
    assert survey.grid is not None
    image = Image.fromarray(survey.thumbnail)
    image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BOX)
    mask = np.asarray(Image.fromarray(survey.mask).resize(image.size, Image.Resampling.NEAREST))
    pixels = np.array(image)
    pixels[_outline(mask)] = _TISSUE
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    scale = [size / edge for size, edge in zip(survey.size, image.size, strict=True)]
    x_edges, y_edges = survey.grid.edges(*scale)
    for region in survey.regions:
        for column, row in zip(region.columns.tolist(), region.rows.tolist(), strict=True):
            box = (x_edges[column], y_edges[row], x_edges[column + 1], y_edges[row + 1])
            draw.rectangle([round(edge) for edge in box], outline=_PATCH)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=80, subsampling=0)  # thin coloured lines stay crisp
    return sink.getvalue()


def _outline(mask: np.ndarray) -> np.ndarray:
    """Pixels of the mask that touch one outside it."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
