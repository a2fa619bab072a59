"""Pictures and masks as they stand on disk, through Pillow."""

import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError, features

from raysweep.errors import WorkError
from raysweep.patches.codec import FORMATS
from raysweep.stand_in import stand_in

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".tif", ".tiff", ".bmp"}) | (
    {".webp"} if features.check("webp") else set()
)
_TURNS = {  # by EXIF orientation; CIPA DC-008, 4.6.5 A
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LOSSY = {"JPEG": "JPEG", "MPO": "JPEG", "JPEG2000": "JPEG 2000"}  # Pillow's name -> people's
_DARK = 64  # Pillow keeps the upper 8 of 16 bits: in what 14 bits or fewer are used of, nothing is brighter
_CHANNELS = ("red", "green", "blue")
_SMALLER_COPY = 1  # bit of the TIFF tag 254, NewSubfileType: a page that shows another page at a lower resolution


class UnfitError(WorkError):
    """The file is whole, and no picture or mask that a sample can have."""


def load_image(path: Path) -> Image.Image:
    """The picture as 8-bit RGB, turned as its EXIF orientation says, as viewers show it; transparent parts are white.

    Raises OSError when it cannot be decoded to its last pixel, WorkError when it is no picture, and UnfitError when its
    channels have not 8 bits, all of it is transparent, or it has several pages.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the error, at twice its size, stays
        picture = _open(path)
    with picture:
        if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
            raise UnfitError(f"not an 8-bit picture (mode {picture.mode})")
        wide = _has_wide_channels(picture)
        picture.load()  # Pillow turns a TIFF here, and then no longer tells that it was turned
        turn = _TURNS.get(orientation_of(picture))
        rgb = _rgb(picture)
    if wide and max(high for _, high in rgb.getextrema()) < _DARK:  # type: ignore[misc]
        raise UnfitError(
            "not an 8-bit picture (16 bits a channel, of which only the lower ones are used); scale it to 8 bits"
        )
    return rgb if turn is None else rgb.transpose(turn)


def raw_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture before it is turned. Raises OSError or WorkError as `load_image`."""
    with _open(path) as picture:
        tags = getattr(picture, "tag_v2", None)  # of a TIFF, whose size Pillow gives as turned
        return (tags[256], tags[257]) if tags else picture.size


def orientation_of(picture: Image.Image) -> int:
    """The EXIF orientation of an open picture, 1 (upright) to 8; 1 where there is none that can be read."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF raises anything; viewers then show the pixels as they are
        return 1
    return value if value in _TURNS else 1


def load_mask(path: Path, channel: str | None = None) -> np.ndarray:
    """The mask's numbers as they stand, an unsigned integer array (h, w): palette indices for palette images.

    `channel` is that of a coloured mask which holds them: red, green or blue. Without it all channels are equal.

    Raises OSError when it cannot be decoded, WorkError when it is no picture, and UnfitError when it was compressed
    with losses, has several pages or channels, or holds no whole numbers, and for greys in a palette whose order is not
    that of their numbers.
    """
    with _open(path) as picture:
        lossy = _lossy_format(picture, path)
        if lossy:
            raise UnfitError(
                f"the mask is a {lossy}, whose compression changes the numbers; make it anew as PNG from the original"
            )
        if _has_wide_channels(picture):
            raise UnfitError(
                "the mask has several channels of 16 bits, of which 8 would be lost; save one number a pixel"
            )
        mask = np.asarray(picture)
        bands = picture.getbands()
        _check_greys(_colours(picture, mask))
    if mask.ndim == 3:
        mask = _one_channel(mask, bands) if channel is None else mask[..., _CHANNELS.index(channel)]
    if mask.dtype == bool:
        return mask.astype(np.uint8)
    if not np.issubdtype(mask.dtype, np.integer) or mask.min(initial=0) < 0:
        raise UnfitError(f"the mask's values are no class numbers ({mask.dtype})")
    return mask


def mask_colours(path: Path, mask: np.ndarray) -> dict[int, tuple[int, ...]]:
    """What colour (red, green, blue) a palette gives to each number in a mask; empty where the file has no palette.

    mask: of `load_mask`. Only the head of the file is read. Raises as `load_mask`.
    """
    with _open(path) as picture:
        return _colours(picture, mask)


def _open(path: Path) -> Image.Image:
    try:
        picture = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError as error:
        instead = stand_in(path)
        raise WorkError(f"it is {instead}" if instead else "not a picture in a format that is read") from error
    pages = _pages(picture)
    if pages > 1:
        picture.close()
        raise UnfitError(f"the file holds {pages} pages, and which one is meant cannot be told; save one page a file")
    return picture


def _pages(picture: Image.Image) -> int:
    """Pages or frames; not the smaller copies in a pyramid, nor what cameras add to a JPEG (format MPO)."""
    count = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
    if count == 1 or picture.format != "TIFF":
        return count
    copies = 0
    for page in range(count):
        picture.seek(page)
        copies += bool(int(picture.tag_v2.get(254, 0)) & _SMALLER_COPY)  # type: ignore[attr-defined]
    picture.seek(0)
    return count - copies


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture.copy()
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        if not rgba.getchannel("A").getbbox():
            raise UnfitError("all of it is transparent, so nothing can be seen; save it without its alpha channel")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return picture.convert("RGB")


def _has_wide_channels(picture: Image.Image) -> bool:
    """Whether a picture of several channels has 16 bits in each; one of a single channel keeps its own mode."""
    if len(picture.getbands()) < 2:
        return False
    raw = [part[3] for part in getattr(picture, "tile", ())]  # by decoder: the raw mode, alone or first
    return any("16" in str(mode[0] if isinstance(mode, tuple) else mode) for mode in raw)


def _colours(picture: Image.Image, mask: np.ndarray) -> dict[int, tuple[int, ...]]:
    palette = picture.getpalette() if picture.mode == "P" else None
    if palette is None:
        return {}
    shown = [int(number) for number in np.unique(mask) if 3 * number + 2 < len(palette)]
    return {number: tuple(palette[3 * number : 3 * number + 3]) for number in shown}


def _check_greys(colours: dict[int, tuple[int, ...]]) -> None:
    """Raise UnfitError for greys that a tool numbered as it met them: the grey is then meant, not its number."""
    greys = [red for red, green, blue in colours.values() if red == green == blue]
    if len(greys) == len(colours) and greys != sorted(greys):
        drawn = ", ".join(f"{number} is drawn as {grey}" for number, grey in zip(colours, greys, strict=True))
        raise UnfitError(
            f"the mask has a palette of greys in another order than its numbers ({drawn}); save it as grey"
        )


def _lossy_format(picture: Image.Image, path: Path) -> str | None:
    """What a picture was compressed with that does not keep numbers, whatever its suffix says."""
    if picture.format == "TIFF" and "jpeg" in str(picture.info.get("compression", "")):
        return "TIFF with JPEG compression"
    if picture.format == "WEBP" and b"VP8 " in _webp_chunks(path):
        return "lossy WebP"
    return _LOSSY.get(picture.format or "")


def _webp_chunks(path: Path) -> list[bytes]:
    """Names of the chunks of a WebP file; `VP8 ` holds lossy pixels (RFC 9649, 2.5)."""
    data = path.read_bytes()
    names, at = [], 12
    while at + 8 <= len(data):
        names.append(data[at : at + 4])
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return names


def _one_channel(mask: np.ndarray, bands: tuple[str, ...]) -> np.ndarray:
    """(h, w) from (h, w, c) with c equal channels, beside an alpha channel that says nothing."""
    colours = mask[..., [i for i, band in enumerate(bands) if band != "A"]]
    alpha = mask[..., [i for i, band in enumerate(bands) if band == "A"]]
    if (alpha != alpha[:1, :1]).any():
        raise UnfitError("the mask has an alpha channel with a picture of its own; save one number per pixel")
    if (colours == colours[..., :1]).all():
        return colours[..., 0]
    marks = colours != 0
    if (marks.sum(-1) == 1).all() and len(np.unique(colours[marks])) == 1:
        raise UnfitError(
            f"the mask is one-hot, with a channel for each of {colours.shape[-1]} classes; save one number per pixel"
        )
    raise UnfitError("the mask is a colour picture, not one number per pixel")
