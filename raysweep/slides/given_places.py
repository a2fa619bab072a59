"""Coordinates that CLAM or TRIDENT laid, in place of the grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from raysweep.errors import WorkError
from raysweep.hdf5_file import find_dataset
from raysweep.slides.grid import Grid

_MOST = 20_000_000  # places of a slide; a file that claims more is damaged
_LIKE = 1.03  # edges may differ by this factor: CLAM rounds to whole pixels of a level
_LIKE_NAMED = 1.25  # likewise where whole magnifications are said to be those of the slide and the patches
_MPP_AT_1 = 10.0  # um per pixel at magnification 1, as TRIDENT counts
_MAGNIFICATIONS = ("level0_magnification", "target_magnification")  # of the slide and of the patches


@dataclass(frozen=True)
class Coordinates:
    """n places on a slide, in the order of the file.

    Attributes:
        tool: which tool wrote them.
        corner: level-0 pixel (x, y) of the top-left corners, float64 (n, 2), each inside the slide and once only;
            whole numbers but where a place ends at the slide's edge. A place may reach over the right or bottom edge:
            both tools keep such places and pad them.
        edge_level0: edge of a place in level-0 pixels.
        n_repeated: how many places the file held besides, at corners that it had named already.
    """

    tool: Literal["clam", "trident"]
    corner: np.ndarray
    edge_level0: float
    n_repeated: int


@dataclass(frozen=True)
class _Size:
    """What a file says of its places: edge in level-0 pixels, edge in pixels of the patches that its tool cuts, and
    edge in um if its whole magnifications are taken at their word."""

    level0: float
    px: float
    um: float | None = None


def read_coordinates(path: Path, grid: Grid, downsamples: Sequence[tuple[float, float]], mpp: float) -> Coordinates:
    """The places that a CLAM or TRIDENT file gives for a slide; `grid.at` makes patches of them.

    Args:
        path: an HDF5 file with a data set `coords`, integers (n, 2): level-0 corners.
        grid: of the patches that are to be cut from the slide; the edges of the file's places must be alike.
        downsamples: level-0 pixels per pixel (x, y) of each level of the slide.
        mpp: um per level-0 pixel.

    Edges are alike when they differ by at most 3%. TRIDENT calls slides of 0.24 and of 0.27 um per pixel 40x: where a
    file's magnifications are whole, its places may be up to 25% off if they are alike when 40x is taken for 0.25 um.

    The edge is, as the tools read it themselves, `patch_size_level0` of TRIDENT (`patch_size` x
    `level0_magnification` / `target_magnification` where that is not given) and `patch_size` x the downsample of
    `patch_level` of CLAM.

    Raises WorkError when the file is missing, malformed, empty, of another slide or of patches of another size.
    """
    try:
        # HDF5 cannot lock files on read-only and network disks, and this file is only read.
        with h5py.File(path, "r", locking=False) as file:
            found = find_dataset(file, "coords")
            if found is None:
                raise WorkError(f"{_name(path)} has no data set coords")
            if found.ndim != 2 or found.shape[1] != 2 or found.dtype.kind not in "iuf" or len(found) > _MOST:
                raise WorkError(f"{_name(path)} does not hold pairs of numbers: {found.shape} of {found.dtype}")
            attributes = {name: found.attrs[name] for name in found.attrs}
            corner = found[:].astype(np.float64)
    except FileNotFoundError as error:
        raise WorkError(f"no coordinates: {path} does not exist") from error
    except (OSError, RuntimeError) as error:
        raise WorkError(f"{_name(path)} cannot be read ({' '.join(str(error).split())})") from error
    if len(corner) == 0:
        raise WorkError(f"{_name(path)} holds no place")
    tool: Literal["clam", "trident"] = "clam" if "patch_level" in attributes else "trident"
    measure = _clam if tool == "clam" else _trident
    size = measure(_Numbers(path, attributes), grid.size, downsamples)
    _check(path, size, grid, mpp)
    outside = ~((corner >= 0) & (corner < grid.size)).all(axis=1)
    if outside.any():
        (x, y), (width, height) = corner[outside][0], grid.size
        raise WorkError(f"{_name(path)} has a place at ({x:g}, {y:g}), outside the slide of {width} x {height}")
    first = np.sort(np.unique(corner, axis=0, return_index=True)[1])
    return Coordinates(tool, _nudged(corner[first], grid), float(size.level0), len(corner) - len(first))


def _check(path: Path, size: _Size, grid: Grid, mpp: float) -> None:
    """Raise WorkError, which says what would fit, unless the file's places are as large as patches."""
    edge = float(np.mean(grid.edge))
    named = size.um is not None and _are_alike(size.level0, size.um / mpp, _LIKE_NAMED)
    if _are_alike(size.level0, edge, _LIKE) or (named and _are_alike(size.um, edge * mpp, _LIKE)):
        return
    advice = ""
    if np.isfinite(size.level0) and size.level0 > 0:
        advice = f"; write um: {size.um if named else size.level0 * mpp:.5g} and px: {size.px:.5g}"
    raise WorkError(f"{_name(path)} has places of {size.level0:.5g} level-0 pixels and patches have {edge:.5g}{advice}")


def _are_alike(one: float | None, other: float, factor: float) -> bool:
    return one is not None and other / factor <= one <= other * factor


def _nudged(corner: np.ndarray, grid: Grid) -> np.ndarray:
    """The file has whole pixels: a place that ended at the slide's edge may seem to end half a pixel outside."""
    level_end = (np.array(grid.level_size) + 0.5) * grid.downsample
    last = np.minimum(np.array(grid.size) + 0.5, level_end) - 1e-6 - np.array(grid.edge)
    return np.where((corner > last) & (corner <= last + 0.5), last, corner)


def _name(path: Path) -> str:
    return f"the file of coordinates {path.name}"


class _Numbers:
    """Attributes of the data set by name; a missing one or one that is no number is an error."""

    def __init__(self, path: Path, attributes: dict[str, Any]) -> None:
        self._path, self._attributes = path, attributes

    def __contains__(self, name: str) -> bool:
        return name in self._attributes

    def pair(self, name: str) -> np.ndarray:
        """One number or two, as float64 (2,)."""
        try:
            return np.broadcast_to(np.asarray(self._attributes[name], np.float64), (2,))
        except KeyError as error:
            raise WorkError(f"{_name(self._path)} has no attribute {name}") from error
        except (TypeError, ValueError) as error:
            value = self._attributes[name]
            raise WorkError(f"{_name(self._path)} has {value!r} as {name}, which is no number") from error

    def one(self, name: str) -> float:
        return float(self.pair(name)[0])

    def of(self, size: np.ndarray, slack: float, slide: tuple[int, int]) -> None:
        """Refuse a file that was made for a slide of another size, in level-0 pixels."""
        if not (np.abs(size - slide) <= slack).all():
            raise WorkError(
                f"{_name(self._path)} is of a slide of {size[0]:.0f} x {size[1]:.0f} pixels, "
                f"and this one has {slide[0]} x {slide[1]}"
            )


def _trident(numbers: _Numbers, size: tuple[int, int], downsamples: Sequence[tuple[float, float]]) -> _Size:
    if "level0_width" in numbers:
        numbers.of(np.array([numbers.one("level0_width"), numbers.one("level0_height")]), 0.5, size)
    px = numbers.one("patch_size")
    level0 = numbers.one("patch_size_level0") if "patch_size_level0" in numbers else None
    said = [numbers.one(name) for name in _MAGNIFICATIONS if name in numbers or level0 is None]
    if level0 is None:
        level0 = px * said[0] / said[1] if min(said) > 0 else np.nan
    whole = len(said) == 2 and all(value > 0 and value.is_integer() for value in said)
    return _Size(level0, px, px * _MPP_AT_1 / said[1] if whole else None)


def _clam(numbers: _Numbers, size: tuple[int, int], downsamples: Sequence[tuple[float, float]]) -> _Size:
    level = int(numbers.one("patch_level"))
    if "downsample" in numbers:
        down = numbers.pair("downsample")
    elif 0 <= level < len(downsamples):
        down = np.array(downsamples[level])
    else:
        raise WorkError(f"the file of coordinates names level {level} of a slide that has {len(downsamples)}")
    if "level_dim" in numbers:  # of the level of the patches, whatever its name says
        numbers.of(numbers.pair("level_dim") * down, float(down.max()), size)
    px = numbers.one("patch_size")
    return _Size(px * float(down.mean()), px)
