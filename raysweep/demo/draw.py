"""Generated tissue that looks like a haematoxylin and eosin stain: glands, stroma, lymphoid tissue, tumour.

Four kinds that differ in the size, shape and arrangement of their nuclei and in what lies between them, and that
do not differ in their mean colour.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from raysweep.demo.paint import Field, Stain, colour, paint_cells, scatter, smooth_noise

Points = NDArray[np.float64]  # (n, 2) as y, x in um, or (n,) values that go with them
KINDS = ("gland", "stroma", "lymphoid", "tumour")


@dataclass(frozen=True)
class Drawing:
    """A picture `rgb` (h, w, 3) uint8 and where its glands are: `glands` (h, w) bool, epithelium and lumen."""

    rgb: NDArray[np.uint8]
    glands: NDArray[np.bool_]


def draw_tissue(
    kind: str, shape: tuple[int, int], mpp: float, stain: Stain, rng: np.random.Generator, tissue: Field | None = None
) -> Drawing:
    """Draw one kind of tissue.

    Args:
        kind: one of KINDS.
        shape: height and width, pixels.
        mpp: um per pixel.
        stain: the patient's stain.
        rng: the picture's own stream of random numbers.
        tissue: (h, w) in [0, 1], how much of a pixel is tissue and not glass; default: all of it.
    """
    sheet = _Sheet(shape, mpp, rng)
    _PAINTERS[kind](sheet)
    nuclei = sheet.nuclei * (1 + 0.28 * sheet.noise(1.6))  # chromatin is never even
    haematoxylin = sheet.haze + nuclei
    eosin = sheet.eosin * (1 - 0.75 * np.clip(sheet.nuclei, 0, 1)) * (1 + 0.10 * sheet.noise(2.5))
    whole = np.ones(shape, np.float32) if tissue is None else tissue
    rgb = colour(np.clip(haematoxylin, 0, None), np.clip(eosin, 0, None), whole, mpp, stain, rng)
    return Drawing(rgb, (sheet.inside > 0) & (whole > 0.5))


class _Sheet:
    """Maps (h, w) of one picture while it is painted; lengths are um. Every kind starts from woven fibres."""

    def __init__(self, shape: tuple[int, int], mpp: float, rng: np.random.Generator) -> None:
        self.shape, self.mpp, self.rng = shape, mpp, rng
        self.extent = (shape[0] * mpp, shape[1] * mpp)
        self.nuclei = np.zeros(shape, np.float32)
        self.haze = np.zeros(shape, np.float32)  # haematoxylin outside nuclei
        self.eosin = np.zeros(shape, np.float32)
        self.inside = np.full(shape, -99, np.float32)  # um from the edge of a gland, positive inside
        self.rough = self.noise(3.0)

    def noise(self, um: float) -> Field:
        return smooth_noise(self.shape, max(um / self.mpp, 1.0), self.rng)

    def at(self, field: Field, points: Points) -> Field:
        """Values of a map at points (n, 2) in um; those outside take the nearest pixel."""
        rows, columns = (np.clip(points[:, i] / self.mpp, 0, self.shape[i] - 1).astype(np.intp) for i in (0, 1))
        return field[rows, columns]

    def uniform(self, low: float, high: float, n: int) -> NDArray[np.float64]:
        return self.rng.uniform(low, high, n)

    def fibres(self, wave: float) -> tuple[Field, Field]:
        """Woven fibres from 0 (cleft) to about 1, and a map whose level lines they follow; bent by `wave` um."""
        lean = self.rng.uniform(0, np.pi)
        y, x = (np.float32(self.mpp) * v.astype(np.float32) for v in np.ogrid[: self.shape[0], : self.shape[1]])
        cos, sin = np.float32(np.cos(lean)), np.float32(np.sin(lean))
        across = np.float32(wave) * (self.noise(70) + np.float32(0.28) * self.noise(22)) + (y * cos - x * sin)
        along = y * sin + x * cos
        strands = np.zeros(self.shape, np.float32)
        for thick, length in ((2.2, 34), (6.5, 80)):
            rows, columns = ((v - v.min()) / np.float32(u) for v, u in ((across, thick), (along, length)))
            table = self.rng.standard_normal((int(rows.max()) + 2, int(columns.max()) + 2), dtype=np.float32)
            strands += ndimage.map_coordinates(table, [rows, columns], order=1)
        return np.clip(np.float32(0.62) + np.float32(0.31) * strands, 0, 1.25), across

    def nucleus(
        self,
        points: Points,
        long: Points,
        short: Points,
        angle: Points,
        depth: Points,
        *,
        edge: float = 0.3,
        rim: float = 0.0,
        ragged: float = 0.1,
    ) -> None:
        """Paint nuclei: `paint_cells` in um. `depth` is of haematoxylin, `ragged` how uneven the outline is."""
        at, a, b = points / self.mpp, long / self.mpp, short / self.mpp
        paint_cells(self.nuclei, at, a, b, angle, depth, edge=edge, rim=rim, ragged=ragged * self.rough)

    def spindles(self, points: Points, across: Field) -> None:
        """Thin nuclei that lie along the fibres, which are the level lines of `across`."""
        n = len(points)
        rise = [self.at(across, points + step) - self.at(across, points - step) for step in 2 * np.eye(2)]
        angle = np.arctan2(-rise[1], rise[0]) + self.rng.normal(0, 0.25, n)
        self.nucleus(points, self.uniform(3.6, 8, n), self.uniform(1.2, 2.2, n), angle, self.uniform(0.7, 1.1, n))

    def lymphocytes(self, points: Points) -> None:
        """Small, round, dark nuclei."""
        n = len(points)
        long = self.uniform(2.4, 3.8, n)
        short, depth = long * self.uniform(0.65, 1, n), self.uniform(0.8, 1.2, n)
        self.nucleus(points, long, short, self.uniform(0, np.pi, n), depth, edge=0.22, ragged=0.06)


def _stroma(sheet: _Sheet) -> None:
    """Collagen bundles with spindle nuclei, and here and there a crowd of lymphocytes."""
    fibres, across = sheet.fibres(wave=7)
    sheet.eosin += fibres
    sheet.haze += 0.12 + 0.06 * fibres
    points = scatter(sheet.extent, 11, 0.45, sheet.rng)
    crowded = sheet.at(sheet.noise(60), points) + sheet.rng.normal(0, 0.8, len(points))
    guest = sheet.at(sheet.noise(40), points) + sheet.rng.normal(0, 0.5, len(points)) > 1.0
    sheet.spindles(points[(crowded > 0.1) & ~guest], across)
    sheet.lymphocytes(points[guest])


def _lymphoid(sheet: _Sheet) -> None:
    """Crowds of lymphocytes in a net of fibres, with strands of stroma where they thin out."""
    fibres, across = sheet.fibres(wave=9)
    crowd = sheet.noise(50) + 0.25
    strands = np.clip(0.8 - 0.6 * crowd, 0.3, 1)
    sheet.eosin += 0.7 * (1 - strands) + fibres * strands
    sheet.haze += 0.03 + 0.08 * strands
    points = scatter(sheet.extent, 8.6, 0.3, sheet.rng)
    here = sheet.at(crowd, points) + sheet.rng.normal(0, 0.7, len(points))
    sheet.lymphocytes(points[here > -0.3])
    rest = points[here < -0.6]
    sheet.spindles(rest[sheet.rng.random(len(rest)) < 0.4], across)


def _tumour(sheet: _Sheet) -> None:
    """Nests of large, uneven, vesicular nuclei with nucleoli, between strands of stroma."""
    fibres, across = sheet.fibres(wave=7)
    nest = np.clip((sheet.noise(60) + 0.35 * sheet.noise(20) + 1.1) / 0.25, 0, 1)
    sheet.eosin += 0.3 * nest + fibres * (1 - nest)
    sheet.haze += 0.05 + 0.03 * nest
    points = scatter(sheet.extent, 13.5, 0.27, sheet.rng)
    within = sheet.at(nest, points)
    cells = points[(within > 0.6) & (sheet.rng.random(len(points)) < 0.94)]
    n = len(cells)
    long = np.clip(sheet.rng.lognormal(np.log(4.9), 0.24, n), 3.2, 8.5)
    short, angle = long * sheet.uniform(0.6, 0.95, n), sheet.uniform(0, np.pi, n)
    body = np.zeros(sheet.shape, np.float32)  # cytoplasm: thins out where cells meet
    paint_cells(body, cells / sheet.mpp, (long + 4) / sheet.mpp, (short + 4) / sheet.mpp, angle,
                sheet.uniform(0.2, 0.5, n), edge=0.3, ragged=0.12 * sheet.rough)  # fmt: skip
    sheet.eosin += body
    sheet.nucleus(cells, long, short, angle, sheet.uniform(0.5, 1.1, n), edge=0.22, rim=0.7, ragged=0.14)
    nucleoli = cells + sheet.rng.normal(0, 1.0, cells.shape)
    dot = sheet.uniform(0.7, 1.3, n)
    sheet.nucleus(nucleoli[::2], dot[::2], dot[::2], angle[::2], sheet.uniform(1.0, 1.4, n)[::2], edge=0.4, ragged=0)
    sheet.spindles(points[within <= 0.3], across)


def _gland(sheet: _Sheet) -> None:
    """Rings of columnar epithelium around pale lumina, in stroma with spindle nuclei and lymphocytes."""
    fibres, across = sheet.fibres(wave=7)
    thickness = np.zeros(sheet.shape, np.float32)
    rings = [_ring(sheet, centre, thickness) for centre in scatter(sheet.extent, 68, 0.24, sheet.rng)]
    epithelium = np.clip(sheet.inside / 0.8 + 0.5, 0, 1)
    deep = np.clip(sheet.inside / np.maximum(thickness, 1), 0, 1.5)
    lumen = np.clip((deep - 1) * thickness / 1.2 + 0.5, 0, 1) * (thickness > 0)
    cytoplasm = 0.75 - 0.35 * np.clip(deep, 0, 1) + 0.12 * sheet.noise(4)
    sheet.eosin += fibres * (1 - epithelium) + cytoplasm * (epithelium - lumen)
    sheet.eosin += 0.35 * np.exp(-((sheet.inside + 0.6) ** 2) / 0.8)  # basement membrane
    secretion = np.clip(sheet.noise(14) - 0.9, 0, 1)
    sheet.eosin += 0.25 * lumen * secretion
    sheet.haze += 0.10 * (1 - epithelium) + (epithelium - lumen) * 0.16
    outside = scatter(sheet.extent, 11, 0.45, sheet.rng)
    outside = outside[sheet.at(sheet.inside, outside) < -2.5]
    guest = sheet.at(sheet.noise(40), outside) + sheet.rng.normal(0, 0.5, len(outside)) > 0.6
    sheet.spindles(outside[~guest], across)
    sheet.lymphocytes(outside[guest])
    nuclei, angle, depth = (np.concatenate(v) for v in zip(*rings, strict=True))
    own = sheet.at(sheet.inside, nuclei) < depth + 1.5  # not in the lumen of a neighbour that overlaps
    nuclei, angle = nuclei[own], angle[own]
    n = len(nuclei)
    long, short, dark = sheet.uniform(3.6, 5.2, n), sheet.uniform(1.8, 2.6, n), sheet.uniform(0.65, 1.05, n)
    sheet.nucleus(nuclei, long, short, angle, dark, rim=0.2)


def _ring(sheet: _Sheet, centre: Points, thickness: Field) -> tuple[Points, Points, Points]:
    """Add one gland to the maps. Returns its nuclei (n, 2) in um, their angles and depths under the edge in um."""
    rng, mpp = sheet.rng, sheet.mpp
    size, stretch, lean = rng.uniform(16, 29), rng.uniform(1, 1.6), rng.uniform(0, np.pi)
    wall = float(np.clip(size * rng.uniform(0.42, 0.9), 8.5, 18))  # the thickest leave hardly a lumen
    waves = [(k, rng.uniform(0, 0.3 / k), rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)]

    def outline(phi: Points) -> Points:
        return size * (1 + np.sum([a * np.cos(k * phi + p) for k, a, p in waves], axis=0))

    reach = size * (1 + sum(a for _, a, _ in waves)) * stretch
    low = [max(0, int((c - reach) / mpp)) for c in centre]
    high = [min(s, int((c + reach) / mpp) + 1) for c, s in zip(centre, sheet.shape, strict=True)]
    if low[0] < high[0] and low[1] < high[1]:
        y, x = np.mgrid[low[0] : high[0], low[1] : high[1]] * mpp
        dy, dx = y - centre[0], x - centre[1]
        u = (dx * np.cos(lean) + dy * np.sin(lean)) / stretch
        v = dy * np.cos(lean) - dx * np.sin(lean)
        depth = outline(np.arctan2(v, u)) - np.hypot(u, v)
        window = (slice(low[0], high[0]), slice(low[1], high[1]))
        more = depth > sheet.inside[window]
        sheet.inside[window][more] = depth[more]
        thickness[window][more] = wall
    n = int(2 * np.pi * size * (1 + stretch) / 2 / rng.uniform(4.2, 5.4))
    phi = (np.arange(n) + rng.uniform(-0.25, 0.25, n)) * 2 * np.pi / n
    sunk = rng.normal(4.6, 0.9, n)
    u, v = (outline(phi) - sunk) * np.cos(phi) * stretch, (outline(phi) - sunk) * np.sin(phi)
    spots = np.stack([u * np.sin(lean) + v * np.cos(lean), u * np.cos(lean) - v * np.sin(lean)], axis=1)
    # Columnar cells stand upright on the edge: along the gradient of the stretched radius.
    upright = np.arctan2(np.sin(phi) * stretch, np.cos(phi)) + lean + rng.normal(0, 0.12, n)
    return spots + centre, upright, sunk


_PAINTERS: dict[str, Callable[[_Sheet], None]] = {
    "gland": _gland,
    "stroma": _stroma,
    "lymphoid": _lymphoid,
    "tumour": _tumour,
}
