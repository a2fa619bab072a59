"""Small slides with known pixels, as Aperio-style TIFF files that OpenSlide reads."""

from pathlib import Path

import numpy as np
import tifffile

GLASS = (243, 243, 242)


def glass(width: int, height: int) -> np.ndarray:
    """A bare slide, uint8 (height, width, 3)."""
    return np.full((height, width, 3), GLASS, np.uint8)


def tissue(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Stained texture all over, uint8 (height, width, 3): purple dots on pink."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // 8 + 1, width // 8 + 1)).repeat(8, 0).repeat(8, 1)[:height, :width, None]
    picture = np.where(coarse > 0.6, (110, 60, 140), (225, 150, 185)) + rng.integers(-6, 7, (height, width, 1))
    return picture.clip(0, 255).astype(np.uint8)


def slide_with_tissue(width: int, height: int, box: tuple[int, int, int, int], seed: int = 0) -> np.ndarray:
    """Glass with tissue inside (left, top, right, bottom)."""
    left, top, right, bottom = box
    picture = glass(width, height)
    picture[top:bottom, left:right] = tissue(right - left, bottom - top, seed)
    return picture


def grainy(picture: np.ndarray) -> np.ndarray:
    """The same with the grain of a camera, without which JPEGs of glass would be next to nothing."""
    grain = np.random.default_rng(0).integers(-6, 7, picture.shape[:2], np.int8)
    return (picture.astype(np.int16) + grain[..., None]).clip(0, 255).astype(np.uint8)


def ramp(width: int, height: int) -> np.ndarray:
    """Red tells x and green tells y: 0 at the first pixel, 255 at the last."""
    picture = np.full((height, width, 3), 60, np.uint8)
    picture[..., 0] = np.linspace(0, 255, width).round()[None, :]
    picture[..., 1] = np.linspace(0, 255, height).round()[:, None]
    return picture


def write_slide(
    path: Path,
    pixels: np.ndarray,
    mpp: float | None = 0.5,
    *,
    downsamples: tuple[int, ...] = (4,),
    tile: int = 64,
    compression: str = "deflate",
) -> Path:
    """Write a pyramid of lossless (or `jpeg`) tiles; without `mpp` the file does not tell its resolution."""
    height, width = pixels.shape[:2]
    about = f"Aperio Image Library v12.0.15\r\n{width}x{height} [0,0 {width}x{height}] ({tile}x{tile}) JPEG/RGB Q=90"
    about += f"|AppMag = 20|MPP = {mpp}" if mpp is not None else "|Title = nothing"
    kind = {"photometric": "rgb", "tile": (tile, tile), "compression": compression, "metadata": None}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(pixels, description=about, **kind)
        thumbnail = np.ascontiguousarray(pixels[:: max(1, height // 64), :: max(1, width // 64)])
        tiff.write(thumbnail, photometric="rgb", rowsperstrip=16, description=about, metadata=None)
        for down in downsamples:
            rows, columns = height // down, width // down
            blocks = pixels[: rows * down, : columns * down].reshape(rows, down, columns, down, 3)
            tiff.write(blocks.mean(axis=(1, 3)).round().astype(np.uint8), description=about, **kind)
    return path
