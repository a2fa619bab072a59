"""Tissue in other stains, and the artefacts that lie on it, painted onto pictures of tissue."""

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

_WHITE = 245.0
# Optical densities in red, green and blue. Haematoxylin, eosin and DAB: Ruifrok and Johnston, Anal. Quant. Cytol.
# Histol. 23, 2001; the others by eye.
_DYES = {
    "haematoxylin": (0.65, 0.70, 0.29),
    "eosin": (0.07, 0.99, 0.11),
    "dab": (0.27, 0.57, 0.78),
    "aec": (0.27, 0.68, 0.68),
    "aniline blue": (0.85, 0.50, 0.15),
    "light green": (0.80, 0.20, 0.50),
    "scarlet": (0.10, 0.75, 0.65),
    "azure": (0.62, 0.72, 0.31),
    "pap green": (0.80, 0.25, 0.45),
}
RECOLOURED = ("dab", "aec", "blue trichrome", "green trichrome", "diff-quik", "papanicolaou")
STAIN_OF = dict(zip(RECOLOURED, ("ihc", "ihc", "trichrome", "trichrome", "cytology", "cytology"), strict=True))


def recolour(rgb: np.ndarray, name: str) -> np.ndarray:
    """An H&E picture, uint8 (h, w, 3), as if it had been stained otherwise."""
    density = (-np.log10(np.maximum(rgb, 1) / _WHITE)).clip(0)
    two = np.stack([_dye("haematoxylin"), _dye("eosin")])
    nuclei, matrix = (density @ np.linalg.pinv(two)).clip(0).transpose(2, 0, 1)
    y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    positive = np.sin(x / 70) + np.sin(y / 90) > 0.3
    parts = {
        "dab": {"haematoxylin": 0.6 * nuclei, "dab": nuclei * positive + 0.15 * matrix},
        "aec": {"haematoxylin": 0.6 * nuclei, "aec": nuclei * positive + 0.15 * matrix},
        "blue trichrome": {"aniline blue": matrix, "scarlet": 0.8 * nuclei},
        "green trichrome": {"light green": matrix, "scarlet": 0.8 * nuclei},
        "diff-quik": {"azure": nuclei, "eosin": 0.3 * matrix},
        "papanicolaou": {"haematoxylin": nuclei, "pap green": 0.4 * matrix},
    }[name]
    total = sum(amount[..., None] * _dye(dye) for dye, amount in parts.items())
    return (_WHITE * 10**-total).round().astype(np.uint8)


def _dye(name: str) -> np.ndarray:
    vector = np.array(_DYES[name])
    return vector / np.linalg.norm(vector)


def line(shape: tuple[int, ...], points: list[tuple[float, float]], width: float) -> np.ndarray:
    """Bool (h, w): a bent line through points (x, y), given as fractions of the picture; `width` in pixels."""
    image = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(image).line([(x * shape[1], y * shape[0]) for x, y in points], fill=1, width=max(1, round(width)))
    return np.asarray(image)


def with_ink(rgb: np.ndarray, where: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Ink lets through part of what comes through the tissue; its edge is soft and its strength uneven."""
    cover = gaussian_filter(where.astype(float), 0.7)[..., None]
    uneven = np.random.default_rng(0).uniform(0.9, 1.1, (*rgb.shape[:2], 1))
    return (rgb * (1 - cover) + cover * uneven * rgb / _WHITE * np.array(colour)).clip(0, 255).round().astype(np.uint8)


def with_fold(rgb: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Twice the tissue, twice the density."""
    cover = gaussian_filter(where.astype(float), 1)[..., None]
    return (rgb * (1 - cover) + cover * rgb.astype(float) ** 2 / _WHITE).clip(0, 255).round().astype(np.uint8)


def with_bubble(
    rgb: np.ndarray, centre: tuple[float, float], radius_um: float, um: float
) -> tuple[np.ndarray, np.ndarray]:
    """A dark grey rim 25 um wide around something out of focus, and bool (h, w) where; `centre` in fractions."""
    y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    away = np.hypot(x - centre[0] * rgb.shape[1], y - centre[1] * rgb.shape[0]) * um
    inside = away < radius_um
    out = rgb.astype(float)
    out[inside] = gaussian_filter(out, (8 / um, 8 / um, 0))[inside]
    rim = np.exp(-(((away - radius_um) / 12.5) ** 2))[..., None]
    return (out * (1 - rim) + 90 * rim).round().astype(np.uint8), inside
