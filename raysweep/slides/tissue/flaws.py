"""What is wrong with single patches: nothing on it, out of focus, or dark."""

import math
from collections.abc import Sequence

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


def flaws(patches: Sequence[np.ndarray], mpp: float, stain: str, reject: Sequence[str]) -> list[str | None]:
    """Of each patch `dark`, `blank` or `blurred`, the first of these in this order that it is; None when it is fine.

    Args:
        patches: uint8 (px, px, 3) RGB each.
        mpp: um per pixel of the patches, enlarged or not.
        stain: name of the slide's stain.
        reject: which of the three to look for.

    dark: three quarters of the pixels have an HSV value below 60 of 255. blank: 99 in 100 pixels are glass, or all have
    one colour. blurred: as if smoothed by a Gaussian of 1.5 um or more; never where a pixel is larger than 1.25 um, for
    there sharp and blurred look the same. All three are careful: in doubt a patch is fine.
    """
    found: list[str | None] = [None] * len(patches)
    if "blurred" in reject:
        _mark(found, _are_blurred(patches, mpp, find_stain(stain).blur), "blurred")
    if "dark" in reject or "blank" in reject:
        step = max(1, len(patches[0]) // _SAMPLES)
        sample = np.stack([patch[step // 2 :: step, step // 2 :: step] for patch in patches])
        colours = np.ascontiguousarray(sample.reshape(len(patches), -1, 3).transpose(2, 0, 1))
        value = np.maximum(np.maximum(colours[0], colours[1]), colours[2])
        if "blank" in reject:
            _mark(found, _are_blank(colours, value), "blank")
        if "dark" in reject:
            _mark(found, np.count_nonzero(value < _DARK, axis=1) >= 0.75 * value.shape[1], "dark")
    return found


def _mark(found: list[str | None], which: np.ndarray, reason: str) -> None:
    for index in np.flatnonzero(which):
        found[index] = reason


def _are_blank(colours: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Bool (n,) for uint8 (3, n, pixels) and the largest of the three, (n, pixels)."""
    spread = value - np.minimum(np.minimum(colours[0], colours[1]), colours[2])
    glass = (value >= _GLASS_VALUE) & (spread * np.uint16(255) <= value * np.uint16(_GLASS_SATURATION))
    empty = np.count_nonzero(glass, axis=1) >= (1 - _MOST_STAINED) * value.shape[1]
    uniform = np.ptp(value, axis=1) < _LEAST_RANGE
    if uniform.any():
        uniform &= np.ptp(colours, axis=2).max(axis=0) < _LEAST_RANGE
    return empty | uniform


def _are_blurred(patches: Sequence[np.ndarray], mpp: float, least: float) -> np.ndarray:
    """Bool (n,): whether the second differences of a patch are small against the first.

    Both are taken over pixels of about 1 um, so their ratio depends neither on the strength of the stain nor on the
    scale of the patch. For noise smoothed by a Gaussian of s pixels it is 3 / (8 s^2) by Parseval's theorem (the
    integrals of w^4 and of 4 w^2 against exp(-s^2 w^2)), so the limit grows with the square of the pixel.
    """
    factor = int(_COARSEST_UM / mpp + 1e-6)
    blurred = np.zeros(len(patches), bool)
    if factor < 1 or len(patches[0]) // factor < _LEAST_CELLS:
        return blurred
    um = factor * mpp
    limit = least * um**2
    doubtful = np.flatnonzero(_bends(patches, factor, um, _FIRST_CELLS, unseen=0.0) < 3 * limit)
    if len(doubtful):  # a few windows tell most sharp patches
        blurred[doubtful] = _bends([patches[i] for i in doubtful.tolist()], factor, um, _CELLS, unseen=np.inf) < limit
    return blurred


def _bends(patches: Sequence[np.ndarray], factor: int, um: float, cells: int, unseen: float) -> np.ndarray:
    """Second differences over first ones, squared, (n,); `unseen` where there is only noise to judge."""
    green = _windows(patches, factor, cells)
    curved = steep = np.zeros(len(patches))
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
    return np.divide(curved, steep, out=np.full(len(patches), unseen), where=seen)


def _windows(patches: Sequence[np.ndarray], factor: int, cells: int) -> np.ndarray:
    """Means over `factor` x `factor` pixels in square windows, float32 (n, rows, window, columns, window)."""
    px = len(patches[0])
    edge = _WINDOW * factor
    n = max(1, min(px // edge, round(math.sqrt(cells) / _WINDOW)))
    step = px // n
    window = min(edge, step // factor * factor)
    places = (np.arange(n)[:, None] * step + np.arange(window)).ravel()
    down, across = places[:, None], places[None, :]
    # The channel with most contrast in every stain, and most of the luma.
    green = np.stack([patch[down, across, 1] for patch in patches])
    rows = green.reshape(len(patches), n, window // factor, factor, n, window)
    tall = rows[:, :, :, 0].astype(np.uint16)
    for offset in range(1, factor):
        tall += rows[:, :, :, offset]
    total = tall[..., ::factor].astype(np.float32)
    for offset in range(1, factor):
        total += tall[..., offset::factor]
    return total / factor**2
