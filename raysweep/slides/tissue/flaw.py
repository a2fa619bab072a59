"""What is wrong with a single patch: nothing on it, out of focus, or dark."""

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
_CELLS = 4096  # of these pixels, spread over the patch
_WINDOW = 8  # of these pixels a side, next to each other
_LEAST_CELLS = 16  # a side; smaller patches are not judged
_LEAST_SLOPE = 0.75  # grey levels per um, RMS; below it there is only noise to judge


def flaw(patch: np.ndarray, mpp: float, stain: str, reject: Sequence[str]) -> str | None:
    """`dark`, `blank` or `blurred`, the first of these in `reject` that a patch is; None when it is fine.

    Args:
        patch: uint8 (px, px, 3) RGB.
        mpp: um per pixel of the patch; the slide's own where the patch was enlarged.
        stain: name of the slide's stain.
        reject: which of the three to look for.

    dark: three quarters of the pixels have an HSV value below 60 of 255. blank: 99 in 100 pixels are glass, or all have
    one colour. blurred: as if smoothed by a Gaussian of 1.5 um or more; never where a pixel is larger than 1.25 um, for
    there sharp and blurred look the same. All three are careful: in doubt a patch is fine.
    """
    if "dark" in reject or "blank" in reject:
        step = max(1, patch.shape[0] // _SAMPLES)
        colours = patch[step // 2 :: step, step // 2 :: step].transpose(2, 0, 1).reshape(3, -1)
        value = np.maximum(np.maximum(colours[0], colours[1]), colours[2])
        if "dark" in reject and np.count_nonzero(value < _DARK) >= 0.75 * value.size:
            return "dark"
        if "blank" in reject and _is_blank(colours, value):
            return "blank"
    if "blurred" in reject and _is_blurred(patch, mpp, find_stain(stain).blur):
        return "blurred"
    return None


def _is_blank(colours: np.ndarray, value: np.ndarray) -> bool:
    spread = value - np.minimum(np.minimum(colours[0], colours[1]), colours[2])
    glass = (value >= _GLASS_VALUE) & (spread * np.uint16(255) <= value * np.uint16(_GLASS_SATURATION))
    if np.count_nonzero(glass) >= (1 - _MOST_STAINED) * value.size:
        return True
    return bool(np.ptp(value) < _LEAST_RANGE and max(np.ptp(colour) for colour in colours) < _LEAST_RANGE)


def _is_blurred(patch: np.ndarray, mpp: float, least: float) -> bool:
    """Whether the second differences of the picture are small against the first.

    Both are taken over pixels of about 1 um, so their ratio depends neither on the strength of the stain nor on the
    scale of the patch. For noise smoothed by a Gaussian of s pixels it is 3 / (8 s^2) by Parseval's theorem (the
    integrals of w^4 and of 4 w^2 against exp(-s^2 w^2)), so the limit grows with the square of the pixel.
    """
    factor = int(_COARSEST_UM / mpp + 1e-6)
    if factor < 1:
        return False
    green = _windows(patch, factor)  # the channel with most contrast in every stain, and most of the luma
    if green.shape[0] * green.shape[1] < _LEAST_CELLS:
        return False
    curved = steep = 0.0
    for before, here, after in (
        (green[:, :-2], green[:, 1:-1], green[:, 2:]),
        (green[..., :-2], green[..., 1:-1], green[..., 2:]),
    ):
        slope = after - before
        bend = before + after - 2 * here
        steep += float(np.vdot(slope, slope))
        curved += float(np.vdot(bend, bend))
    n = 2 * green.size * (1 - 2 / green.shape[1])
    um = factor * mpp
    if math.sqrt(steep / n) < _LEAST_SLOPE * 2 * um:
        return False
    return curved < least * um**2 * steep


def _windows(patch: np.ndarray, factor: int) -> np.ndarray:
    """Means over `factor` x `factor` pixels in square windows, float32 (rows, window, columns, window)."""
    px = patch.shape[0]
    edge = _WINDOW * factor
    n = max(1, min(px // edge, round(math.sqrt(_CELLS) / _WINDOW)))
    step = px // n
    window = min(edge, step // factor * factor)
    green = patch[: n * step, : n * step, 1].reshape(n, step, n, step)[:, :window, :, :window]
    rows = green.reshape(n, window // factor, factor, n, window)
    tall = rows[:, :, 0].astype(np.uint16)
    for offset in range(1, factor):
        tall += rows[:, :, offset]
    total = tall[..., ::factor].astype(np.float32)
    for offset in range(1, factor):
        total += tall[..., offset::factor]
    return total / factor**2
