"""Who an image is of, as names tell it: the patients of TCGA barcodes, and names that are written in several ways."""

import re
import unicodedata
from collections.abc import Iterable

# TCGA-<tissue source site>-<participant>: the first three parts of GDC's "TCGA Barcode", which every name of a sample,
# slide or aliquot begins with; R and file systems put dots and underscores for the hyphens.
_BARCODE = re.compile(r"(?<![A-Za-z0-9])TCGA[-_.]([A-Z0-9]{2})[-_.]([A-Z0-9]{4})(?![A-Za-z0-9])", re.I | re.A)
_SUFFIXES = re.compile(
    r"(\.(ome|svs|tiff?|ndpi|mrxs|scn|bif|svslide|czi|vms|vmu|dcm|png|jpe?g|bmp|webp))+$", re.I | re.A
)


def tcga_patients(names: Iterable[str]) -> set[str]:
    """The patients of all TCGA barcodes that occur anywhere in the names or paths, such as `TCGA-CR-7395`."""
    text = "\n".join(names)
    if "tcga" not in text.lower():  # most sets: a search for a word is a hundred times as fast
        return set()
    return {f"TCGA-{site.upper()}-{patient.upper()}" for site, patient in _BARCODE.findall(text)}


def plain_name(name: str) -> str:
    """A slide's or patient's name without suffixes of images, in one case and one way of writing accents."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).strip()
    return _SUFFIXES.sub("", folded).strip() or folded


def unpadded_name(name: str) -> str:
    """`plain_name` without what programs add to the names of people, or take away: `P-007`, `p7` and `P 7.0` are alike.

    Zeros before a number and `.0` behind it go, and so does what stands between a word and its number.
    """
    plain = re.sub(r"(?<=\d)\.0+$", "", plain_name(name))
    plain = re.sub(r"(?<![\d.])0+(?=\d)", "", plain)
    return re.sub(r"[\s_.-]+", "-", re.sub(r"(?<=[^\W\d_])[\s_.-]+(?=\d)", "", plain))
