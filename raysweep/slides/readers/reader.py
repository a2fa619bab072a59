"""What a reader of slide files gives."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np


class NotMine(Exception):
    """This reader does not read such files; another may."""


class Reader(Protocol):
    """An open slide file. Rectangles are in pixels of a level; level 0 is the largest.

    Attributes:
        name: of the reader.
        level_sizes: (width, height) of each level.
        mpp_xy: um per level-0 pixel along x and y as the file says; None when it does not.
        mpp_source: where in the file that stands: `metadata` or `tiff resolution`.
        orientation: how the stored picture is to be turned as a whole, TIFF's tag 274: 1 to 8, 1 as it is. All else,
            sizes and boxes included, is of the picture as it is stored.
        icc: the colour profile in the file, if any, perhaps a broken one.
        origin: level-0 pixel at the corner of the scanned area, from which other programs may count.
        strip_px: width, in pixels of a level, of the strips in which small rectangles are read fastest; None: read
            them row by row.
    """

    name: str
    level_sizes: list[tuple[int, int]]
    mpp_xy: tuple[float, float] | None
    mpp_source: str
    orientation: int
    icc: bytes | None
    origin: tuple[int, int]
    strip_px: int | None

    def __init__(self, path: Path) -> None:
        """Raises NotMine when another reader may open the file, and WorkError when it is damaged."""
        ...

    def crops(self, level: int, boxes: np.ndarray) -> Iterator[np.ndarray]:
        """The pixels of each rectangle, in order: uint8 (bottom - top, right - left, 3) RGB.

        `boxes` are left, top, right, bottom, integer (n, 4). Pixels that several boxes need are decoded once when
        the boxes come roughly row by row, in strips or not. Where the slide has no pixels it is white. Raises
        WorkError, which names the place, when the file is damaged.
        """
        ...

    def close(self) -> None: ...
