"""Values of a TIFF's pixels as 8-bit RGB."""

from typing import Any

import numpy as np

from raysweep.errors import WorkError
from raysweep.slides.tissue.find import NotBrightfield

_GREY, _RGB, _PALETTE, _YCBCR = (0, 1), 2, 3, 6  # TIFF's PhotometricInterpretation
_WHITE_IS_ZERO = 0
_JPEGS = (6, 7, 34892)
_APERIO_YCBCR = 33003  # a compression; whatever the colours' tag says
_LEAST_USED = 0.5  # of the range: glass is near white, so a picture that uses less has another white (15 bits, say)
_ASSOCIATED, _ALPHAS = 1, (1, 2)  # of ExtraSamples; 0 is something else than a transparency


class Samples:
    """Turns what tifffile decodes of a page into uint8 RGB.

    The white of deeper values is what the file states: SMaxSampleValue or MaxSampleValue, OME's SignificantBits, else
    the largest value of BitsPerSample bits.

    Attributes:
        unsure: whether the range is known by BitsPerSample alone, which 12 bits in words of 16 do not fill: see
            `check_white`.
    """

    def __init__(self, page: Any, bits: int | None) -> None:
        """`bits` are SignificantBits. Raises NotBrightfield for anything but colours and 8-bit grey.

        Raises WorkError where it is not known which value is white, or colours are of another kind.
        """
        samples, photometric, self._kind = page.samplesperpixel, int(page.photometric), page.dtype
        if self._kind is None or self._kind.kind not in "buif":
            raise WorkError(
                f"its values are of SampleFormat {int(page.sampleformat)} and {page.bitspersample} bits, which are not "
                "read; write RGB in 8 bits"
            )
        extra = [int(kind) for kind in page.extrasamples]
        alpha = next((number for number, kind in enumerate(extra) if kind in _ALPHAS), None)
        if photometric in _GREY and (samples > 1 + (alpha is not None) or page.bitspersample > 8):
            raise NotBrightfield(f"not brightfield: {samples} channel(s) of {page.bitspersample} bits, no colours")
        if (
            photometric not in (*_GREY, _RGB, _PALETTE, _YCBCR)
            or (photometric == _YCBCR and int(page.compression) not in _JPEGS)
            or int(page.compression) == _APERIO_YCBCR
        ):
            name = getattr(page.photometric, "name", f"of the unknown kind {photometric}")
            name += " in JPEG 2000" * (int(page.compression) == _APERIO_YCBCR)
            raise WorkError(f"its colours are {name}, which are not read; write RGB")
        if (photometric in (_RGB, _YCBCR) and page.bitspersample < 8) or int(page.planarconfig) not in (1, 2):
            raise WorkError(
                f"its colours have {page.bitspersample} bits in PlanarConfiguration {int(page.planarconfig)}, which is "
                "not read; write RGB in 8 bits"
            )
        self._photometric = photometric
        self._palette = None
        if photometric == _PALETTE:
            colours = np.asarray(page.colormap)
            self._palette = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8).T  # some write 8 bits
        self._alpha = None  # the number of the sample that says how opaque a pixel is
        if photometric in (_RGB, *_GREY) and alpha is not None:
            self._alpha = samples - len(extra) + alpha
            self._premultiplied = extra[alpha] == _ASSOCIATED
        stated = _stated(page) if page.bitspersample > 8 else None  # in 8 bits it tells of the picture, not of white
        said = bits is not None and bits < page.bitspersample  # all bits is what writers say who do not look
        self.unsure = stated is None and not said and page.bitspersample > 8
        if stated is None and self._kind.kind in "if":
            raise WorkError(
                f"its values are {self._kind}, and no tag (SMaxSampleValue) says which one is white; "
                "write RGB in 8 bits"
            )
        self._white = float(stated or 2 ** min(bits or page.bitspersample, page.bitspersample) - 1)

    def check_white(self, brightest: float) -> None:
        """Raises WorkError when `brightest`, the largest value seen, shows that the range is another than it seems."""
        if brightest < _LEAST_USED * self._white:
            raise WorkError(
                f"its values reach {brightest:.6g} of {self._white:.6g}, and no tag (SMaxSampleValue, SignificantBits) "
                "says which one is white; write RGB in 8 bits, or that tag"
            )

    def rgb(self, values: np.ndarray) -> np.ndarray:
        """uint8 (h, w, 3) of decoded (h, w, samples); what is transparent is white."""
        if self._palette is not None:
            return np.ascontiguousarray(self._palette[values[..., 0].astype(np.intp)])
        if self._kind != np.uint8 or self._white != 255:
            scaled = np.clip(values.astype(np.float32) * np.float32(255 / self._white), 0, 255)
            values = np.nan_to_num(scaled, nan=255.0).round().astype(np.uint8)
        colours = values[..., :3] if self._photometric in (_RGB, _YCBCR) else np.repeat(values[..., :1], 3, axis=2)
        if self._photometric == _WHITE_IS_ZERO:
            colours = 255 - colours
        if self._alpha is not None:
            cover = values[..., self._alpha, None].astype(np.uint32)
            lit = np.minimum(colours, cover) * 255 if self._premultiplied else colours * cover
            colours = ((lit + 255 * (255 - cover) + 127) // 255).astype(np.uint8)
        return np.ascontiguousarray(colours)


def _stated(page: Any) -> float | None:
    """The largest value, which stands for white, as the tags SMaxSampleValue and MaxSampleValue have it."""
    for number in (341, 281):
        tag = page.tags.get(number)
        if tag is not None:
            value = float(np.max(tag.value))
            whole = page.dtype.kind in "ui" and value == np.iinfo(page.dtype).max
            if np.isfinite(value) and value > 0 and not (page.dtype.kind == "f" and value > 1e30):
                return None if whole else value
    return None
