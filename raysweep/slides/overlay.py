"""A picture of what was taken from a slide."""

import io
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image, ImageDraw

from raysweep.patches.shuffle.parallel import in_parallel
from raysweep.patches.shuffle.spool import BOX, OVERLAY, read_piece
from raysweep.slides.grid import Grid
from raysweep.slides.outcomes import Outcome, overlay_path
from raysweep.slides.survey import Survey
from raysweep.storage import Storage

_LONGEST = 1024
# Green, blue, vermilion and yellow of Okabe and Ito: told apart by colour-blind eyes.
_TISSUE, _KEPT, _EXCLUDED, _REJECTED = (0, 158, 115), (0, 114, 178), (213, 94, 0), (240, 228, 66)


def draw_survey(survey: Survey) -> bytes:
    """JPEG of the thumbnail with the outlines of the tissue (green), of what was cut out of it (orange) and of every
    place that is to be read (yellow). It is drawn on once more, so its quality is high."""
    assert survey.thumbnail is not None
    image = Image.fromarray(survey.thumbnail)
    image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BOX)
    pixels = np.array(image)
    if survey.tissue is not None:
        for mask in survey.tissue.excluded.values():
            pixels[_outline(_shrunk(mask, image.size))] = _EXCLUDED
        pixels[_outline(_shrunk(survey.tissue.mask, image.size))] = _TISSUE
    image = Image.fromarray(pixels)
    if survey.grid is not None:
        for cut in survey.cuts:
            _draw(image, cut.rects(survey.grid.downsample), survey.size, _REJECTED)
    return _jpeg(image, 95)


def draw_overlays(
    folder: Storage, spool: Storage, outcomes: Mapping[str, Outcome], workers: int | None
) -> Iterator[str]:
    """Write `overlays/<slide>.jpg`: the survey's picture, in which kept patches are blue and rejected ones stay yellow.

    `outcomes` are by slide. Yields the slides that have a picture, as they come.
    """
    drawn = [name for name, outcome in outcomes.items() if outcome.survey and outcome.survey["overlay"]]
    return in_parallel(
        _draw_overlay, [(folder, spool, name, outcomes[name]) for name in drawn], workers, "drawing overlays"
    )


def _draw_overlay(folder: Storage, spool: Storage, slide: str, outcome: Outcome) -> str:
    assert outcome.survey is not None
    assert outcome.folder is not None
    image = Image.open(io.BytesIO(spool.read_bytes(outcome.folder, OVERLAY)))
    for piece in outcome.pieces:
        rows = read_piece(spool, piece["path"], columns=BOX)
        boxes = np.stack([rows[name].to_numpy() for name in BOX], axis=1)
        downsample = Grid(**outcome.survey["grid"]).downsample
        _draw(image, boxes * np.array([*downsample, *downsample]), outcome.survey["size"], _KEPT)
    folder.write_bytes(_jpeg(image, 80), overlay_path(slide))
    return slide


def _draw(image: Image.Image, rects: np.ndarray, size: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """Outline rectangles, in level-0 pixels of a slide of `size`."""
    draw = ImageDraw.Draw(image)
    scale = np.array(size) / image.size
    for rect in np.rint(rects / (*scale, *scale)).tolist():
        draw.rectangle(rect, outline=colour)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=quality, subsampling=0)  # thin coloured lines stay crisp
    return sink.getvalue()


def _shrunk(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _outline(mask: np.ndarray) -> np.ndarray:
    """Pixels of the mask that touch one outside it."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
