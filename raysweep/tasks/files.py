"""Pictures and masks as they stand on disk, through Pillow. EXIF orientation is ignored: masks carry none."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from raysweep.errors import WorkError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})


def load_image(path: Path) -> Image.Image:
    """The picture as 8-bit RGB; transparent parts become white.

    Raises OSError when it cannot be decoded to its last pixel, WorkError when it is no picture of 8-bit pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the error, at twice its size, stays
        picture = _open(path)
    with picture:
        if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
            raise WorkError(f"not an 8-bit picture (mode {picture.mode})")
        if picture.mode == "RGB":
            picture.load()
            return picture.copy()
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            rgba = picture.convert("RGBA")
            white = Image.new("RGBA", rgba.size, "white")
            return Image.alpha_composite(white, rgba).convert("RGB")
        return picture.convert("RGB")


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except UnidentifiedImageError as error:
        raise WorkError("not a picture in a format that Pillow knows") from error


def load_mask(path: Path) -> np.ndarray:
    """The mask's numbers, an unsigned integer array (h, w): palette indices for palette images.

    Raises OSError when it cannot be decoded, WorkError when it is a colour picture or holds no whole numbers.
    """
    with _open(path) as picture:
        mask = np.asarray(picture.convert("L") if picture.mode == "LA" else picture)
    if mask.ndim == 3:
        if (mask[..., :3] != mask[..., :1]).any():
            raise WorkError("the mask is a colour picture, not one number per pixel")
        mask = mask[..., 0]
    if mask.dtype == bool:
        return mask.astype(np.uint8)
    if not np.issubdtype(mask.dtype, np.integer) or mask.min(initial=0) < 0:
        raise WorkError(f"the mask's values are no class numbers ({mask.dtype})")
    return mask
