"""Pictures that are no slides: crops in PNG, JPEG, TIFF, BMP or WebP files, as slides of one level."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from raysweep.errors import WorkError, reason_of
from raysweep.patches.codec import as_rgb
from raysweep.slides.readers.reader import NotMine

_MOST_PIXELS = 178 * 10**6  # held in memory as a whole; Pillow opens hardly more
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")  # in others it would be a slide's thumbnail
_LEAST_DOWN = 1.4  # of a level of a pyramid
_MUCH = 16  # times smaller in area: a thumbnail or a label, not another picture


class PictureReader:
    """A picture that fits in memory: see `Reader`. It never says its um per pixel."""

    name = "picture"
    strip_px: int | None = None

    def __init__(self, path: Path) -> None:
        """Raises NotMine when Pillow does not open the file, or it is called otherwise than pictures are.

        Raises WorkError when it is too large, damaged, or holds several pictures of which the first is not all.
        """
        if path.suffix.lower() not in _SUFFIXES:
            raise NotMine(f"pictures are called {', '.join(_SUFFIXES)}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = Image.open(path, formats=_FORMATS)
        except Image.DecompressionBombError as error:
            raise WorkError(f"a picture that is too large to be read ({error})") from error
        except (OSError, ValueError, SyntaxError) as error:
            raise NotMine(f"not a picture ({error})") from error
        with image:
            if image.format == "TIFF":
                _check_pages(path)
            width, height = image.size
            if width * height > _MOST_PIXELS:
                raise WorkError(f"a picture of {width} x {height} pixels that is no pyramid: too large to be read")
            self.icc: bytes | None = image.info.get("icc_profile")
            try:
                self._pixels = as_rgb(image)
            except (OSError, ValueError, SyntaxError) as error:
                raise WorkError(f"the picture cannot be decoded ({error})") from error
        self.level_sizes = [(width, height)]
        self.mpp_xy: tuple[float, float] | None = None
        self.mpp_source = "metadata"
        self.origin = (0, 0)

    def crops(self, level: int, boxes: np.ndarray) -> Iterator[np.ndarray]:
        height, width = self._pixels.shape[:2]
        for x0, y0, x1, y1 in boxes.tolist():
            if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
                yield self._pixels[y0:y1, x0:x1]
                continue
            crop = np.full((y1 - y0, x1 - x0, 3), 255, np.uint8)
            inside = self._pixels[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
            top, left = max(-y0, 0), max(-x0, 0)
            crop[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
            yield crop

    def close(self) -> None:
        return None


def _check_pages(path: Path) -> None:
    """Raises WorkError unless the first page of a TIFF is the picture and others only show it smaller, or its label."""
    try:
        with tifffile.TiffFile(path) as tiff:
            pages: list[Any] = list(tiff.pages)
            first, *others = [(page.imagewidth, page.imagelength) for page in pages]
    except Exception as error:  # tifffile raises many kinds
        raise WorkError(f"the pages of the TIFF cannot be counted ({reason_of(error)})") from error
    for number, size in enumerate(others, 1):
        if size[0] * size[1] * _MUCH > first[0] * first[1] and not _is_level(first, size):
            raise WorkError(
                f"a TIFF of {len(pages)} pictures, the first of {first[0]} x {first[1]} pixels and page {number} of "
                f"{size[0]} x {size[1]}: which of them is the slide is not clear; keep one"
            )


def _is_level(full: tuple[int, int], level: tuple[int, int]) -> bool:
    """Whether a smaller picture has the shape of the full one, to a pixel each way."""
    down = full[0] / level[0]
    return down >= _LEAST_DOWN and abs(full[1] / down - level[1]) <= 1 + level[1] / level[0]
