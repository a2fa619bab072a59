"""What the XML of an OME-TIFF says of its images."""

import math
import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from xml.etree import ElementTree

# Units of length of the OME schema that a pixel can be measured in, and how other writers spell them; NFKC has one mu.
_UM = {
    "fm": 1e-9, "pm": 1e-6, "Å": 1e-4, "nm": 1e-3, "μm": 1.0, "mm": 1e3, "cm": 1e4, "dm": 1e5, "m": 1e6, "in": 25_400.0,
    "thou": 25.4, "li": 25_400 / 12, "pt": 25_400 / 72, "ft": 304_800.0,
    "um": 1.0, "Âμm": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0, "nanometer": 1e-3,
    "millimeter": 1e3, "inch": 25_400.0,
}  # fmt: skip


@dataclass(frozen=True)
class OmeImage:
    """One `Pixels` of the XML: `size` is (width, height), `mpp_xy` um per pixel where it is stated in a length,
    `channels` their names, perhaps empty, `bits` those that count of each sample (SignificantBits)."""

    size: tuple[int, int]
    mpp_xy: tuple[float, float] | None
    channels: tuple[str, ...]
    bits: int | None


def ome_images(text: str) -> list[OmeImage]:
    """The images of an OME-XML, in its order; those without a size, and XML that is none or has entities, are left."""
    found: list[OmeImage] = []
    if re.search(r"<!(DOCTYPE|ENTITY)", text):
        return found
    with suppress(ElementTree.ParseError):
        for pixels in ElementTree.fromstring(text).iter():
            if _tag(pixels) == "Pixels":
                with suppress(ValueError, KeyError):
                    found.append(_image(pixels))
    return found


def length_um(unit: str) -> float | None:
    """um of a unit of length, whichever mu it is written with; None for a word that is no length."""
    return _UM.get(unicodedata.normalize("NFKC", unit.strip()))


def _image(pixels: ElementTree.Element) -> OmeImage:
    size = int(pixels.attrib["SizeX"]), int(pixels.attrib["SizeY"])
    channels = tuple(child.get("Name", "") for child in pixels if _tag(child) == "Channel")
    bits = pixels.get("SignificantBits")
    return OmeImage(size, _mpp(pixels), channels, int(bits) if bits else None)


def _mpp(pixels: ElementTree.Element) -> tuple[float, float] | None:
    stated = {axis: text for axis in "XY" if (text := pixels.get(f"PhysicalSize{axis}", "").strip())}
    found = []
    for axis in "XY" if stated else "":
        given = axis if axis in stated else min(stated)  # of one edge alone: pixels are square
        um = length_um(pixels.get(f"PhysicalSize{given}Unit") or "um")
        try:
            value = float(stated[given].replace(",", ".")) * (um or math.nan)
        except ValueError:
            return None
        if not (math.isfinite(value) and value > 0):
            return None
        found.append(value)
    return (found[0], found[1]) if found else None


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]
