"""A picture that is stored turned or mirrored, as it is meant."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from raysweep.slides.readers.reader import Reader

# TIFF 6.0, tag 274: whether rows are columns, then whether x and whether y run backwards in the picture as meant.
TURNS = {
    1: (False, False, False), 2: (False, True, False), 3: (False, True, True), 4: (False, False, True),
    5: (True, False, False), 6: (True, True, False), 7: (True, True, True), 8: (True, False, True),
}  # fmt: skip


class Turned:
    """A slide as its orientation tag wants it, turned as a whole: see `Reader`. It closes what it reads from."""

    def __init__(self, stored: Reader) -> None:
        self.stored = stored
        self.name, self.icc, self.mpp_source = stored.name, stored.icc, stored.mpp_source
        self.orientation = 1
        self.strip_px: int | None = None
        self._swap, self._back_x, self._back_y = TURNS[stored.orientation]
        self.level_sizes: list[tuple[int, int]] = [
            (height, width) if self._swap else (width, height) for width, height in stored.level_sizes
        ]
        self.mpp_xy: tuple[float, float] | None = stored.mpp_xy
        if self._swap and stored.mpp_xy is not None:
            self.mpp_xy = (stored.mpp_xy[1], stored.mpp_xy[0])
        self.origin: tuple[int, int] = (0, 0)  # the formats that have another are never turned

    def crops(self, level: int, boxes: np.ndarray) -> Iterator[np.ndarray]:
        width, height = self.level_sizes[level]
        x0, y0, x1, y1 = np.asarray(boxes).T
        if self._back_x:
            x0, x1 = width - x1, width - x0
        if self._back_y:
            y0, y1 = height - y1, height - y0
        inside = np.stack([y0, x0, y1, x1] if self._swap else [x0, y0, x1, y1], axis=1)
        for crop in self.stored.crops(level, inside):
            yield np.ascontiguousarray(turned(crop, self.stored.orientation))

    def close(self) -> None:
        self.stored.close()


def orientation_of(page: Any) -> int:
    """The orientation of a page of tifffile's, 1 to 8; 1 where it says none."""
    tag = page.tags.get(274)
    return int(tag.value) if tag is not None and tag.value in range(1, 9) else 1


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """A stored picture (h, w, ...) as the tag `orientation` (1 to 8) wants it shown; a view."""
    swap, back_x, back_y = TURNS[orientation]
    shown = pixels.swapaxes(0, 1) if swap else pixels
    return shown[:: -1 if back_y else 1, :: -1 if back_x else 1]
