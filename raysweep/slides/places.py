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
