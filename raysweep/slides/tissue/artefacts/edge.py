"""Edges of the cover slip."""

import numpy as np
from scipy.ndimage import find_objects, label

from raysweep.slides.tissue.artefacts.grey import grey_lines
from raysweep.slides.tissue.morphology import grow
from raysweep.slides.tissue.picture import Picture

_LONG_UM = 3_000.0
_WIDE_UM = 400.0
_RIM_UM = 30.0


def find(picture: Picture) -> np.ndarray:
    """Bool (h, w): straight grey lines, darker than glass, at least 3 mm long and nowhere 0.4 mm from straight."""
    regions, _ = label(grey_lines(picture), np.ones((3, 3), bool))
    found = np.zeros(picture.shape, bool)
    for number, box in enumerate(find_objects(regions), 1):
        height, width = ((side.stop - side.start) for side in box)
        if np.hypot(height * picture.um_per_px[1], width * picture.um_per_px[0]) < _LONG_UM:
            continue
        line = regions[box] == number
        length, breadth = _extent(line, picture.um_per_px)
        if length >= _LONG_UM and breadth <= _WIDE_UM:
            found[box] |= line
    return grow(found, picture.um_per_px, _RIM_UM)


def _extent(line: np.ndarray, um_per_px: tuple[float, float]) -> tuple[float, float]:
    """Length and breadth in um along the principal axes."""
    rows, columns = np.nonzero(line)
    points = np.stack([columns * um_per_px[0], rows * um_per_px[1]], axis=1)
    points -= points.mean(axis=0)
    _, axes = np.linalg.eigh(points.T @ points)
    breadth, length = np.ptp(points @ axes, axis=0)
    return float(length), float(breadth)
