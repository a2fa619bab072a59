"""What tissue is painted with: smooth noise, fibres, scattered cells, and the two stains that colour them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from raysweep.randomness import generator

Field = NDArray[np.floating]
# Optical densities (R, G, B) of haematoxylin and eosin: the reference matrix in use with Macenko et al., ISBI 2009.
_STAINS = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
_AMOUNTS = np.array([0.34, 0.30])  # of haematoxylin and eosin, in an average pixel of tissue
_TOGETHER = 200  # cells painted at once


@dataclass(frozen=True)
class Stain:
    """How one patient's tissue was stained and scanned.

    `colours`: (2, 3) optical densities per unit of haematoxylin and of eosin. `amounts`: (2,) of them in an average
    pixel of tissue. `glass`: (3,) colour of empty glass, 0 to 255. `blur_um`: standard deviation of the focus.
    """

    colours: NDArray[np.float64]
    amounts: NDArray[np.float64]
    glass: NDArray[np.float64]
    blur_um: float


def stain_of(seed: int, patient: str) -> Stain:
    """The stain of a patient, the same for every image of them."""
    rng = generator(seed, "stain", patient)
    colours = _STAINS * rng.lognormal(0, 0.08, _STAINS.shape)
    return Stain(
        colours=colours / np.linalg.norm(colours, axis=1, keepdims=True),
        amounts=_AMOUNTS * rng.lognormal(0, 0.16, 2),
        glass=rng.uniform(236, 246) + rng.uniform(-2, 2, 3),
        blur_um=float(rng.uniform(0.3, 0.9)),
    )


def smooth_noise(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> Field:
    """Noise of mean 0 and deviation about 1 that changes over `scale` pixels; float32 of `shape`."""
    rows, columns = (_spline_weights(n, scale) for n in shape)
    grid = rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32)
    return (rows @ grid @ columns.T) / np.float32(0.48)


def _spline_weights(n: int, step: float) -> Field:
    """Weights (n, grid points) of a cubic B-spline with one grid point every `step` pixels."""
    knots = np.arange(int(np.ceil(n / step)) + 4, dtype=np.float32) - np.float32(1.5)
    t = np.abs(np.arange(n, dtype=np.float32)[:, None] / np.float32(step) - knots[None])
    far, near = np.clip(2 - t, 0, None), np.clip(1 - t, 0, None)
    return (far * far * far - 4 * near * near * near) / 6


def scatter(extent: tuple[float, float], pitch: float, jitter: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Points (n, 2) as y, x over a rectangle and `pitch` beyond it: a hexagonal grid, moved by `jitter` pitches."""
    y, x = np.mgrid[-pitch : extent[0] + pitch : pitch * 0.866, -pitch : extent[1] + pitch : pitch]
    x[1::2] += pitch / 2
    points = np.stack([y.ravel(), x.ravel()], axis=1)
    return points + rng.uniform(-jitter, jitter, points.shape) * pitch


def paint_cells(
    field: Field,
    centres: NDArray[np.float64],
    long: NDArray[np.float64],
    short: NDArray[np.float64],
    angle: NDArray[np.float64],
    depth: NDArray[np.float64],
    *,
    edge: float,
    rim: float = 0.0,
    ragged: Field | None = None,
) -> None:
    """Paint n ellipses into `field` (h, w) in place; where they overlap the larger value stays.

    `centres` (n, 2) as y, x, half axes `long` and `short` (n,), all in pixels; `angle` (n,) of the long axis from x
    towards y, in radians; `depth` (n,) the value inside. `edge`: width of the soft border as a part of the radius.
    `rim`: how much darker the border is than the middle. `ragged` (h, w) is added to the radius, as a part of it.
    """
    order = np.argsort(long, kind="stable")  # like sizes together: each group gets the window it needs
    flat = field.reshape(-1)
    for group in np.array_split(order, max(1, len(order) // _TOGETHER)):
        if not len(group):
            continue
        a, b, angles = (v[group].astype(np.float32)[:, None, None] for v in (long, short, angle))
        reach = int(np.ceil(a.max() * (1 + edge))) + 1
        offsets = np.arange(-reach, reach + 1)
        base = np.floor(centres[group]).astype(np.intp)
        rest = (centres[group] - base).astype(np.float32)
        rows, columns = base[:, :1] + offsets, base[:, 1:] + offsets
        dy, dx = ((offsets - rest[:, i : i + 1]).astype(np.float32) for i in (0, 1))
        cos, sin = np.cos(angles), np.sin(angles)
        u = dx[:, None, :] * (cos / a) + dy[:, :, None] * (sin / a)
        v = dy[:, :, None] * (cos / b) - dx[:, None, :] * (sin / b)
        squared = u * u + v * v
        down = (rows >= 0) & (rows < field.shape[0])
        right = (columns >= 0) & (columns < field.shape[1])
        touched = down[:, :, None] & right[:, None, :] & (squared < (1 + edge) ** 2)
        where = (rows[:, :, None] * field.shape[1] + columns[:, None, :])[touched]
        radius = np.sqrt(squared[touched])
        if ragged is not None:
            radius += ragged.reshape(-1)[where]
        value = np.clip((1 - radius) / edge + 0.5, 0, 1) * (1 + rim * (radius * radius - 0.6))
        value *= np.broadcast_to(depth[group].astype(np.float32)[:, None, None], touched.shape)[touched]
        np.maximum.at(flat, where, value)


def colour(
    haematoxylin: Field, eosin: Field, tissue: Field, mpp: float, stain: Stain, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The picture (h, w, 3) of two stain maps (h, w) with the mean colour of the stain, whatever they show.

    Both maps are scaled so that red and green, averaged over the pixels whose `tissue` (0 to 1) is above one half,
    come out as the stain's amounts would on an even slice: the mean colour then says who the patient is and
    nothing of what the tissue is.
    """
    amounts = stain.amounts * rng.lognormal(0, 0.05, 2)
    maps = [ndimage.gaussian_filter(m * tissue, stain.blur_um / mpp) for m in (haematoxylin, eosin)]
    where = tissue > 0.5
    every = max(1, int(where.sum()) // 20_000)
    sample = np.stack([m[where][::every] for m in maps], axis=1)
    gains = _gains(sample, stain.colours[:, :2], np.exp(-amounts @ stain.colours[:, :2]))
    density = np.stack(maps, axis=-1) @ (gains[:, None] * stain.colours).astype(np.float32)
    rgb = np.exp(-density) * stain.glass.astype(np.float32)
    rgb += rng.standard_normal(rgb.shape, dtype=np.float32) * np.float32(3.0)  # the camera's
    return np.clip(rgb + 0.5, 0, 255).astype(np.uint8)


def _gains(sample: Field, colours: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factors (2,) of the two stain maps (n, 2) that give the target mean red and green, by Newton's method."""
    gains = np.ones(2)
    for _ in range(8):
        light = np.exp(sample @ (-gains[:, None] * colours).astype(np.float32))
        missing = target - light.mean(axis=0)
        if np.abs(missing).max() < 1e-3:  # a quarter of a grey level
            break
        slope = -(sample.T @ light).T * colours.T / len(sample)
        step = np.linalg.lstsq(slope, missing, rcond=1e-3)[0]
        gains = np.clip(gains + step, 0.6 * gains, 1.6 * gains)
    return gains
