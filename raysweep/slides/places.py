"""Where on a slide patches are taken."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

_PACKED = np.dtype([("corner", "<i4", 2), ("box", "<i4", 4), ("tissue", "<f4"), ("label", "<i4")])


@dataclass(frozen=True)
class Places:
    """n places, each of which becomes one patch.

    Attributes:
        corner: level-0 pixel (x, y) of the top-left corner, integer (n, 2).
        box: left, top, right and bottom (the last two exclusive) in pixels of the level that is read, integer (n, 4).
        tissue: fraction of tissue, float32 (n,).
        label: class id, int32 (n,); -1 where there is none.
    """

    corner: np.ndarray
    box: np.ndarray
    tissue: np.ndarray
    label: np.ndarray

    @classmethod
    def of(cls, corner: np.ndarray, box: np.ndarray) -> "Places":
        """Places of unknown tissue (1) without labels."""
        n = len(corner)
        return cls(corner.reshape(n, 2), box.reshape(n, 4), np.ones(n, np.float32), np.full(n, -1, np.int32))

    def __len__(self) -> int:
        return len(self.corner)

    def pick(self, index: np.ndarray) -> "Places":
        """Some of the places: integer indices or a bool for each."""
        return Places(self.corner[index], self.box[index], self.tissue[index], self.label[index])

    def but(self, **arrays: Any) -> "Places":
        """The same places with another `tissue` or `label`."""
        return replace(self, **arrays)

    def rects(self, downsample: tuple[float, float]) -> np.ndarray:
        """The edges of each box in level-0 pixels, float64 (n, 4); `downsample` is that of the level that is read.

        Exactly what is read, rounding included: what must lie on the patch to the pixel is measured here.
        """
        return self.box * np.array([*downsample, *downsample])

    @classmethod
    def join(cls, parts: "list[Places]") -> "Places":
        """All places of several lists, in order."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in _PACKED.names or ()))

    def pack(self) -> bytes:
        """All arrays as bytes, 32 a place."""
        packed = np.empty(len(self), _PACKED)
        for name in _PACKED.names or ():
            packed[name] = getattr(self, name)
        return packed.tobytes()

    @classmethod
    def unpack(cls, data: bytes) -> "Places":
        packed = np.frombuffer(data, _PACKED)
        return cls(*(np.ascontiguousarray(packed[name]) for name in _PACKED.names or ()))


_PATCHES = 4096  # at most, however small: what a killed worker repeats


def into_cuts(
    places: Places, downsample: tuple[float, float], step: tuple[float, float], px: int, cut_mpx: int
) -> list[Places]:
    """The places in cuts, pieces of work of at most `cut_mpx` megapixels (2**20) of patches of `px` pixels.

    Each is in an order in which a reader decodes little twice.

    A cut is about as wide as it is high, for only what lies on its border is decoded for a neighbour as well, and
    inside it places come row by row. Where places are few, a cut takes those of several squares of the slide.
    """
    most = max(1, min(_PATCHES, cut_mpx * 2**20 // px**2))
    wide = int(most**0.5)
    left, top = places.box[:, 0], places.box[:, 1]
    column, row = (
        np.floor((start + 0.5) * down / (wide * step)).astype(int)
        for start, down, step in zip((left, top), downsample, step, strict=True)
    )
    order = np.lexsort((left, top, column, row))
    square = row * (int(column.max()) + 1) + column
    starts = np.flatnonzero(np.diff(square[order], prepend=-1))
    cuts: list[list[np.ndarray]] = [[]]
    filled = 0
    for together in np.split(order, starts[1:]):
        for part in np.split(together, range(most, len(together), most)):
            if filled and filled + len(part) > most:
                cuts.append([])
                filled = 0
            cuts[-1].append(part)
            filled += len(part)
    return [places.pick(np.concatenate(parts)) for parts in cuts]
