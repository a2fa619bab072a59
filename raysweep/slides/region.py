"""The patches of one region of a slide: read in blocks, resized once, encoded, sorted by key."""

import numpy as np
import pyarrow as pa

from raysweep.patches.decode import encode_jpeg
from raysweep.randomness import stable_hash
from raysweep.slides.grid import Grid
from raysweep.slides.resample import resample
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.spool import PIECE_SCHEMA
from raysweep.slides.survey import Cells, blocks

_DENSE = 0.5  # a block is read as a whole when at least this part of its bounding box is wanted


def read_region(slide: Slide, name: str, cells: Cells, grid: Grid, spec: PatchSetSpec, seed: int) -> pa.Table:
    """The patches of some cells as rows of `PIECE_SCHEMA`, by key. Raises WorkError when the slide is damaged there."""
    origins = [grid.origin(int(column), int(row)) for column, row in zip(cells.columns, cells.rows, strict=True)]
    images: list[bytes] = [b""] * len(cells)
    for block in blocks(cells, grid):
        crops = _crops(slide, cells.pick(block), grid)
        for index, patch in zip(block.tolist(), resample(crops, spec.px), strict=True):
            images[index] = encode_jpeg(patch, spec.quality)
    rows = pa.table(
        [
            [name] * len(cells),
            [x for x, _ in origins],
            [y for _, y in origins],
            cells.tissue,
            [stable_hash(name, x, y, seed) for x, y in origins],
            images,
        ],
        schema=PIECE_SCHEMA,
    )
    return rows.sort_by([("key", "ascending"), ("x", "ascending"), ("y", "ascending")])


def _crops(slide: Slide, cells: Cells, grid: Grid) -> list[np.ndarray]:
    """The pixels of each cell, uint8 (h, w, 3), read as one rectangle unless most of it would be thrown away."""
    boxes = [grid.box(int(column), int(row)) for column, row in zip(cells.columns, cells.rows, strict=True)]
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
    wanted = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes)
    if wanted < _DENSE * (right - left) * (bottom - top):
        return [slide.read(grid.level, x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
    pixels = slide.read(grid.level, left, top, right - left, bottom - top)
    return [pixels[y0 - top : y1 - top, x0 - left : x1 - left] for x0, y0, x1, y1 in boxes]
