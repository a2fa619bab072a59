"""The kept places of a slide as CLAM and TRIDENT write theirs, so that their users' code reads them."""

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from raysweep.errors import WorkError
from raysweep.slides.grid import Grid
from raysweep.slides.places import Places

_SQUARE = 0.01  # by how much the edges of a patch may differ: neither tool knows pixels that are no squares


def clam_bytes(places: Places, grid: Grid, name: str) -> bytes:
    """An HDF5 file as CLAM's `create_patches_fp.py` writes it; `name` is that of the slide.

    CLAM cuts `patch_size` x `patch_size` whole pixels of `patch_level`, so a patch there is that of the grid to about a
    pixel of the level. Raises WorkError when patches are not squares of one size.
    """
    edges = [edge / down for edge, down in zip(grid.edge, grid.downsample, strict=True)]
    _check(places, grid, "CLAM", edges)
    down = [float(full / level) for full, level in zip(grid.size, grid.level_size, strict=True)]
    size = np.array(grid.level_size, np.int64)
    return _file(places, {
        "patch_size": round(float(np.mean(edges))), "patch_level": grid.level, "downsample": down,
        "downsampled_level_dim": size, "level_dim": size, "name": name, "save_path": "",
    })  # fmt: skip


def trident_bytes(places: Places, grid: Grid, name: str, *, px: int, mpp: float) -> bytes:
    """An HDF5 file as TRIDENT writes it; `name` is that of the slide.

    TRIDENT takes a magnification for 10 / mpp and cuts `patch_size` x level-0 over target magnification, so both are
    written as what they are, not rounded to 20 or 40, and TRIDENT finds the exact edge.

    Args:
        px: edge of a stored patch, pixels.
        mpp: um per level-0 pixel.

    Raises WorkError when patches are not squares of one size.
    """
    edge = float(np.mean(grid.edge))
    _check(places, grid, "TRIDENT", grid.edge)
    return _file(places, {
        "patch_size": px, "patch_size_level0": round(edge), "level0_magnification": _plain(10 / mpp),
        "target_magnification": _plain(10 / mpp * px / edge),
        "overlap": max(0, round(px * (1 - grid.step[0] / grid.edge[0]))), "name": name, "savetodir": "",
        "level0_width": grid.size[0], "level0_height": grid.size[1],
    })  # fmt: skip


def _plain(magnification: float) -> int | float:
    whole = round(magnification)
    return whole if abs(magnification - whole) < 1e-9 * whole else magnification


def _check(places: Places, grid: Grid, tool: str, edges: Sequence[float]) -> None:
    """`edges` are the width and height of a patch in the pixels that the tool counts in."""
    square = abs(edges[0] - edges[1]) <= max(1.0, _SQUARE * max(edges))
    alike = np.abs(places.box[:, 2:] - places.box[:, :2] - np.array(grid.edge) / grid.downsample) <= 1
    if not (square and alike.all()):
        raise WorkError(f"coordinates of {tool} hold squares of one size, and the patches of this slide are not")


def _file(places: Places, attributes: dict[str, Any]) -> bytes:
    """The same bytes whenever and wherever it is written: in memory, without times."""
    with h5py.File("coords.h5", "w", driver="core", backing_store=False) as file:
        coords = file.create_dataset("coords", data=places.corner.astype(np.int64), track_times=False)
        for key, value in attributes.items():
            coords.attrs[key] = value
        file.flush()
        return bytes(file.id.get_file_image())
