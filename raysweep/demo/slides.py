"""Generated whole-slide images: pyramids in the Aperio layout, of one kind of tissue each."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from raysweep.demo.draw import KINDS, draw_tissue
from raysweep.demo.once import make_once
from raysweep.demo.paint import Field, smooth_noise, stain_of
from raysweep.randomness import generator

_FORMAT = 1  # raise it when the same seed gives other pictures
_SHAPE = (1536, 2048)  # height and width of level 0, pixels
_MPP = 0.5
_DOWNSAMPLE = 4  # of level 1
_TILE = 256
# The kinds of a patient's two slides. Every kind meets every other, so that a patient's stain does not give the
# kind away; four patients in a row hold every kind twice.
_PAIRS = ((0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2), (2, 0), (3, 1))


def write_slides(folder: Path, *, n: int = 8, seed: int) -> Path:
    """Write `n` slides (2048 x 1536 pixels at 0.5 um, levels 1x and 4x) and their slide table.

    The table has the columns slide, path (relative to the table), patient (two slides each) and label (the kind of
    tissue). A folder that was completed before with the same `n` and `seed` is left as it is. Returns the path of
    the table. Raises RequestError when the folder holds something else.
    """

    def write(target: Path) -> None:
        rows = []
        for i in range(n):
            slide, patient = f"demo-{i + 1:02d}", f"S{i // 2 + 1:02d}"
            kind = KINDS[_PAIRS[i // 2 % len(_PAIRS)][i % 2]]
            _write_slide(target / f"{slide}.svs", _draw_slide(kind, slide, patient, seed), slide)
            rows.append({"slide": slide, "path": f"{slide}.svs", "patient": patient, "label": kind})
        with open(target / "slides.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, ["slide", "path", "patient", "label"])
            table.writeheader()
            table.writerows(rows)

    make_once(folder, {"what": "slides", "format": _FORMAT, "n": n, "seed": seed}, write)
    return folder / "slides.csv"


def _draw_slide(kind: str, slide: str, patient: str, seed: int) -> NDArray[np.uint8]:
    """Level 0 of a slide, (h, w, 3)."""
    rng = generator(seed, "slide", slide)
    stain = stain_of(seed, patient)
    return draw_tissue(kind, _SHAPE, _MPP, stain, rng, _outline(rng)).rgb


def _outline(rng: np.random.Generator) -> Field:
    """A ragged piece of tissue on glass, with a few tears: (h, w) in [0, 1]."""
    height, width = _SHAPE
    y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in _SHAPE)
    tilt = rng.uniform(-0.3, 0.3)
    radius = np.sqrt(((y[:, None] - tilt * x) / rng.uniform(0.68, 0.8)) ** 2 + (x / rng.uniform(0.74, 0.85)) ** 2)
    inside = 1 - radius + 0.10 * smooth_noise(_SHAPE, height / 5, rng) + 0.012 * smooth_noise(_SHAPE, 12, rng)
    tears = np.abs(smooth_noise(_SHAPE, width / 6, rng)) + 0.06 * smooth_noise(_SHAPE, width / 20, rng) + 0.06
    return np.clip(inside / 0.01, 0, 1) * np.clip((tears - 0.012) / 0.01, 0, 1)


def _write_slide(path: Path, rgb: NDArray[np.uint8], slide: str) -> None:
    """Write level 0, a thumbnail and a smaller level as an Aperio scanner does: JPEG, the scale in the comment."""
    height, width = rgb.shape[:2]
    small = _halve(_halve(rgb))
    size = f"{width}x{height} [0,0 {width}x{height}] ({_TILE}x{_TILE})"
    scale = f"AppMag = 20|MPP = {_MPP}|Filename = {slide}"
    reduced = f"Aperio Image Library v12.0.0\r\n{size} -> {small.shape[1]}x{small.shape[0]} - "
    common: dict[str, Any] = {
        "photometric": "rgb",
        "compression": "jpeg",
        "subsampling": (2, 2),
        "software": False,
        "metadata": None,
    }
    tiles = common | {"tile": (_TILE, _TILE), "compressionargs": {"level": 88}}  # stored as YCbCr
    with tifffile.TiffWriter(path) as out:
        out.write(rgb, description=f"Aperio Image Library v12.0.0\r\n{size} JPEG/RGB Q=88|{scale}", **tiles)
        out.write(small, description=reduced + "|" + scale, rowsperstrip=16, **common)
        out.write(small, description=reduced + f"JPEG/RGB Q=88|{scale}", **tiles)


def _halve(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of 2 x 2 pixels."""
    height, width, _ = rgb.shape
    blocks = rgb.reshape(height // 2, 2, width // 2, 2, 3).astype(np.uint16)
    return ((blocks.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)
