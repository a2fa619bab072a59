"""The first look at a slide: its resolution, its tissue, which patches to keep, and the regions to read them in."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raysweep.randomness import stable_hash
from raysweep.slides.grid import Grid, TooCoarse, lay_grid
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.tissue import tissue_fractions, tissue_mask

_THUMBNAIL_PX = (512, 3072)  # the longest edge is within these, and no more than the slide has
_CELL_PX = 16  # of the thumbnail, wished for: tissue in a patch is then known to half a per cent
_REGION_PATCHES = 256
_REGION_PIXELS = 2**26  # of stored patches in a region: large patches make smaller regions
_BLOCK_EDGE = 1024  # pixels of the level that are read at once


@dataclass(frozen=True)
class Cells:
    """Cells of the grid with the tissue in each: integer (n,), integer (n,) and float32 (n,) arrays."""

    columns: np.ndarray
    rows: np.ndarray
    tissue: np.ndarray

    def __len__(self) -> int:
        return len(self.columns)

    def pick(self, index: np.ndarray) -> "Cells":
        return Cells(self.columns[index], self.rows[index], self.tissue[index])


@dataclass(frozen=True)
class Survey:
    """What is known of a slide before its patches are read. `reason` says why there is nothing to read, if so."""

    size: tuple[int, int]
    mpp: float
    mpp_source: str
    reason: str | None = None
    grid: Grid | None = None
    n_tissue: int = 0  # patches that hold enough tissue
    tissue_area_um2: float = 0.0
    regions: list[Cells] = field(default_factory=list)
    thumbnail: np.ndarray | None = None
    mask: np.ndarray | None = None


def survey(slide: Slide, name: str, spec: PatchSetSpec, seed: int) -> Survey:
    """Look at a whole slide, in memory that does not grow with it. Raises WorkError when it is damaged."""
    known: dict[str, Any] = {"size": slide.size, "mpp": slide.mpp, "mpp_source": slide.mpp_source}
    try:
        grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
    except TooCoarse as error:
        return Survey(**known, reason=str(error))
    if grid.columns * grid.rows == 0:
        return Survey(**known, grid=grid, reason="smaller than one patch")
    thumbnail = slide.thumbnail(_thumbnail_px(slide.size, grid))
    height, width = thumbnail.shape[:2]
    scale = slide.size[0] / width, slide.size[1] / height
    mask = tissue_mask(thumbnail) if spec.tissue == "otsu" else np.ones((height, width), bool)
    fractions = tissue_fractions(mask, *grid.edges(*scale))
    rows, columns = np.nonzero(fractions >= spec.min_tissue)
    cells = Cells(columns, rows, fractions[rows, columns])
    known |= {
        "grid": grid,
        "n_tissue": len(cells),
        "tissue_area_um2": float(mask.sum() * scale[0] * scale[1] * slide.mpp**2),
        "thumbnail": thumbnail,
        "mask": mask,
    }
    if len(cells) == 0:
        return Survey(**known, reason="no tissue")
    kept = _cap(cells, grid, name, spec.per_slide, seed)
    return Survey(**known, regions=cut_regions(kept, grid, spec.px))


def _thumbnail_px(size: tuple[int, int], grid: Grid) -> int:
    wished = _CELL_PX * max(size) / min(grid.step)
    return min(max(size), round(min(max(wished, _THUMBNAIL_PX[0]), _THUMBNAIL_PX[1])))


def _cap(cells: Cells, grid: Grid, name: str, most: int | None, seed: int) -> Cells:
    """At most `most` cells, those of the lowest hash: not the shuffle key, or shards would fill unevenly."""
    if most is None or len(cells) <= most:
        return cells
    origins = (grid.origin(int(column), int(row)) for column, row in zip(cells.columns, cells.rows, strict=True))
    hashes = np.array([stable_hash(seed, "cap", name, x, y) for x, y in origins], np.uint64)
    return cells.pick(np.sort(np.argsort(hashes, kind="stable")[:most]))


def blocks(cells: Cells, grid: Grid) -> list[np.ndarray]:
    """Indices of the cells that are read together, a square of the grid each, in a fixed order."""
    left, top, right, bottom = grid.box(0, 0)
    edge = max(1, _BLOCK_EDGE // max(right - left, bottom - top))
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, (column, row) in enumerate(zip(cells.columns.tolist(), cells.rows.tolist(), strict=True)):
        found[row // edge, column // edge].append(index)
    return [np.array(found[place]) for place in sorted(found)]


def cut_regions(cells: Cells, grid: Grid, px: int) -> list[Cells]:
    """The cells in pieces of work of bounded size. A block is never cut unless it is larger than a region."""
    most = max(1, min(_REGION_PATCHES, _REGION_PIXELS // px**2))
    regions: list[list[np.ndarray]] = [[]]
    filled = 0
    for block in blocks(cells, grid):
        for part in np.split(block, range(most, len(block), most)):
            if filled and filled + len(part) > most:
                regions.append([])
                filled = 0
            regions[-1].append(part)
            filled += len(part)
    return [cells.pick(np.concatenate(parts)) for parts in regions]
