"""Air bubbles under the cover slip."""

import numpy as np
from scipy.ndimage import binary_fill_holes, find_objects, label

from raysweep.slides.tissue.artefacts.grey import grey_lines
from raysweep.slides.tissue.picture import Picture

_LEAST_UM = 100.0  # across; larger than any single cell, fat cells included
_ROUND = 0.75  # of the circle around it: an ellipse of 4 to 3, but no square
_HOLLOW = 0.5


def find(picture: Picture) -> np.ndarray:
    """Bool (h, w): discs inside a closed, round, grey rim that is darker than glass.

    Light is bent at the rim of a bubble and lost, whatever lies below; no stain makes grey rings. A bubble whose rim
    is open or not round is left in.
    """
    lines = np.pad(grey_lines(picture), 1)
    found = np.zeros_like(lines)
    regions, _ = label(lines, np.ones((3, 3), bool))
    for number, box in enumerate(find_objects(regions), 1):
        height, width = ((side.stop - side.start) for side in box)
        if min(height * picture.um_per_px[1], width * picture.um_per_px[0]) < _LEAST_UM:
            continue
        rim = regions[box] == number
        disc = binary_fill_holes(rim)
        if disc.sum() - rim.sum() >= _HOLLOW * disc.sum() and _roundness(disc, picture.um_per_px) >= _ROUND:
            found[box] |= disc
    return found[1:-1, 1:-1]


def _roundness(disc: np.ndarray, um_per_px: tuple[float, float]) -> float:
    """Area over that of the circle around the centre that holds it all."""
    rows, columns = np.nonzero(disc)
    x, y = columns * um_per_px[0], rows * um_per_px[1]
    reach = np.hypot(x - x.mean(), y - y.mean()).max() + 0.5 * max(um_per_px)
    return float(len(x) * um_per_px[0] * um_per_px[1] / (np.pi * reach**2))
