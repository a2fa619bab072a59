"""What is wrong with single patches: nothing on it, out of focus, or dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from raysweep.slides.tissue.stains import find_stain

_SAMPLES = 32  # pixels a side that are looked at for `dark` and `blank`
_DARK = 60  # HSV value, of 255: three quarters of the darkest stained patch of the test data are brighter than 75
_GLASS_VALUE, _GLASS_SATURATION = 180, 13  # of 255: at least as bright and at most as coloured, JPEG noise included
_MOST_STAINED = 0.01
_LEAST_RANGE = 8  # grey levels; a patch of one colour is neither tissue nor worth keeping

_COARSEST_UM = 1.25  # blur of 1.5 um is looked for in pixels of this size at most; in larger ones it hardly shows
_CELLS = 1600  # of these pixels, spread over the patch
_FIRST_CELLS = 225  # that are looked at first
_WINDOW = 5  # of these pixels a side, next to each other
_LEAST_CELLS = 16  # a side; smaller patches are not judged
_LEAST_SLOPE = 0.75  # grey levels per um, RMS; below it there is only noise to judge


class Judge:
    """Finds flaws of patches of one size, scale and stain.

    dark: three quarters of the pixels have an HSV value below 60 of 255. blank: 99 in 100 pixels are glass, or all have
    one colour. blurred: as if smoothed by a Gaussian of 1.5 um or more; never where a pixel is larger than 1.25 um, for
    there sharp and blurred look the same. All three are careful: in doubt a patch is fine.
    """

    def __init__(self, px: int, mpp: float, stain: str, reject: Sequence[str]) -> None:
        """`px` is the edge of the patches, `mpp` their um per pixel, enlarged or not, `reject` what to look for."""
        self._reject = reject
        factor = int(_COARSEST_UM / mpp + 1e-6)
        self._um = factor * mpp
        self._limit = find_stain(stain).blur * self._um**2
        judged = "blurred" in reject and factor >= 1 and px // factor >= _LEAST_CELLS
        self._first = _windows(px, factor, _FIRST_CELLS) if judged else None
        self._all = _windows(px, factor, _CELLS) if judged else None
        parts = [self._first.index] if self._first else []
        if "dark" in reject or "blank" in reject:
            parts.append(_colours(px))
        self._index = np.concatenate([np.empty(0, np.intp), *parts])

    def look(self, patch: np.ndarray) -> np.ndarray:
        """What `flaws` wants of a uint8 (px, px, 3) RGB patch, best taken while its pixels are in the cache."""
        return patch.reshape(-1).take(self._index)

    def flaws(self, patches: Sequence[np.ndarray], looks: Sequence[np.ndarray]) -> list[str | None]:
        """Of each patch `dark`, `blank` or `blurred`, the first in this order that it is; None when it is fine."""
        found: list[str | None] = [None] * len(patches)
        if not len(self._index):
            return found
        seen = np.stack(looks)
        if self._first:
            _mark(found, self._are_blurred(patches, seen[:, : len(self._first.index)]), "blurred")
            seen = seen[:, len(self._first.index) :]
        if seen.size:
            colours = np.ascontiguousarray(seen.reshape(len(patches), 3, -1).transpose(1, 0, 2))
            value = np.maximum(np.maximum(colours[0], colours[1]), colours[2])
            if "blank" in self._reject:
                _mark(found, _are_blank(colours, value), "blank")
            if "dark" in self._reject:
                _mark(found, np.count_nonzero(value < _DARK, axis=1) >= 0.75 * value.shape[1], "dark")
        return found

    def _are_blurred(self, patches: Sequence[np.ndarray], first: np.ndarray) -> np.ndarray:
        """Bool (n,): whether the second differences of a patch are small against the first.

        Both are taken over pixels of about 1 um, so their ratio depends neither on the strength of the stain nor on
        the scale of the patch. For noise smoothed by a Gaussian of s pixels it is 3 / (8 s^2) by Parseval's theorem
        (the integrals of w^4 and of 4 w^2 against exp(-s^2 w^2)), so the limit grows with the square of the pixel.
        """
        assert self._first
        assert self._all
        blurred = np.zeros(len(patches), bool)
        bends = _bends(self._first.means(first), self._um, unseen=0.0)
        doubtful = np.flatnonzero(bends < 3 * self._limit)  # a few windows tell most sharp patches
        if len(doubtful):
            more = np.stack([patches[i].reshape(-1).take(self._all.index) for i in doubtful.tolist()])
            blurred[doubtful] = _bends(self._all.means(more), self._um, unseen=np.inf) < self._limit
        return blurred


def _mark(found: list[str | None], which: np.ndarray, reason: str) -> None:
    for index in np.flatnonzero(which):
        found[index] = reason


@cache
def _colours(px: int) -> np.ndarray:
    """Where, in a flat patch, the sampled pixels are: all red ones, all green ones, all blue ones; intp (3 n,)."""
    step = max(1, px // _SAMPLES)
    places = np.arange(step // 2, px, step)
    pixels = (places[:, None] * px + places).ravel() * 3
    return np.concatenate([pixels + channel for channel in range(3)])


def _are_blank(colours: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Bool (n,) for uint8 (3, n, pixels) and the largest of the three, (n, pixels)."""
    spread = value - np.minimum(np.minimum(colours[0], colours[1]), colours[2])
    glass = (value >= _GLASS_VALUE) & (spread * np.uint16(255) <= value * np.uint16(_GLASS_SATURATION))
    empty = np.count_nonzero(glass, axis=1) >= (1 - _MOST_STAINED) * value.shape[1]
    uniform = np.ptp(value, axis=1) < _LEAST_RANGE
    if uniform.any():
        uniform &= np.ptp(colours, axis=2).max(axis=0) < _LEAST_RANGE
    return empty | uniform


def _bends(green: np.ndarray, um: float, unseen: float) -> np.ndarray:
    """Second differences over first ones of windows, squared, (n,); `unseen` where there is only noise to judge."""
    curved = steep = np.zeros(len(green))
    for before, here, after in (
        (green[:, :, :-2], green[:, :, 1:-1], green[:, :, 2:]),
        (green[..., :-2], green[..., 1:-1], green[..., 2:]),
    ):
        slope = after - before
        bend = before + after - 2 * here
        steep = steep + np.einsum("nabcd,nabcd->n", slope, slope)
        curved = curved + np.einsum("nabcd,nabcd->n", bend, bend)
    n = 2 * green[0].size * (1 - 2 / green.shape[2])
    seen = (np.sqrt(steep / n) >= _LEAST_SLOPE * 2 * um) & (steep > 0)
    return np.divide(curved, steep, out=np.full(len(green), unseen), where=seen)


@dataclass(frozen=True)
class _Windows:
    """Square windows of a patch; `index` is where in the flat patch their green pixels are, intp (m,)."""

    index: np.ndarray
    n: int  # windows in a row
    pixels: int  # edge of a window
    factor: int

    def means(self, green: np.ndarray) -> np.ndarray:
        """Means over `factor` x `factor` of the pixels uint8 (k, m), float32 (k, rows, window, columns, window)."""
        factor = self.factor
        rows = green.reshape(len(green), self.n, self.pixels // factor, factor, self.n, self.pixels)
        tall = rows[:, :, :, 0].astype(np.uint16)
        for offset in range(1, factor):
            tall += rows[:, :, :, offset]
        total = tall[..., ::factor].astype(np.float32)
        for offset in range(1, factor):
            total += tall[..., offset::factor]
        return total / factor**2


@cache
def _windows(px: int, factor: int, cells: int) -> _Windows:
    """Windows of `_WINDOW` x `_WINDOW` means, spread over a patch, with about `cells` means in all."""
    edge = _WINDOW * factor
    n = max(1, min(px // edge, round(math.sqrt(cells) / _WINDOW)))
    step = px // n
    pixels = min(edge, step // factor * factor)
    places = (np.arange(n)[:, None] * step + np.arange(pixels)).ravel()
    # The channel with most contrast in every stain, and most of the luma.
    index = (places[:, None] * px + places).ravel() * 3 + 1
    return _Windows(index, n, pixels, factor)
