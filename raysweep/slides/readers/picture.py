"""Pictures that are no slides: crops in PNG, JPEG, TIFF, BMP or WebP files, as slides of one level."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from raysweep.errors import WorkError
from raysweep.patches.codec import as_rgb
from raysweep.slides.readers.reader import NotMine

_MOST_PIXELS = 178 * 10**6  # held in memory as a whole; Pillow opens hardly more
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_LEAST_WHITE = 128  # of 255: glass is near white, so darker pictures have another range than their bits allow
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")  # in others it would be a slide's thumbnail


class PictureReader:
    """A picture that fits in memory: see `Reader`. It never says its um per pixel."""

    name = "picture"
    orientation = 1  # it is turned as it is opened
    strip_px: int | None = None

    def __init__(self, path: Path) -> None:
        """Raises NotMine when Pillow does not open the file, or it is called otherwise than pictures are.

        Raises WorkError when it is too large, damaged, or holds values that no tag explains.
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
            deep = image.format == "PNG" and ";16" in str(image.tile[:1])  # Pillow drops the low byte of colours
            width, height = image.size
            if width * height > _MOST_PIXELS:
                raise WorkError(f"a picture of {width} x {height} pixels that is no pyramid: too large to be read")
            self.icc: bytes | None = image.info.get("icc_profile")
            try:
                ImageOps.exif_transpose(image, in_place=True)
                self._pixels = as_rgb(image)
            except (OSError, ValueError, SyntaxError) as error:
                raise WorkError(f"the picture cannot be decoded ({error})") from error
        if deep and self._pixels.max() < _LEAST_WHITE:
            raise WorkError("its 16-bit values are all below half of their range: scale them, or write 8 bits")
        self.level_sizes = [self._pixels.shape[1::-1]]
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
