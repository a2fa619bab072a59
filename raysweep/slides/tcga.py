"""What the name of a TCGA slide tells."""

import re

# TCGA-<site>-<participant>-<sample type><vial>-<portion>-<slide>: GDC documentation, "TCGA Barcode"; later parts may
# be left out, and file names go on with a dot and a UUID.
_BARCODE = re.compile(
    r"(?P<patient>TCGA-(?P<site>[A-Z0-9]{2})-[A-Z0-9]{4})"
    r"(?:-(?P<code>\d{2})[A-Z]?(?:-\d{2}[A-Z]?(?:-(?P<slide>DX|TS|BS|MS)[A-Z0-9]*)?)?)?(?![A-Z0-9])",
    re.IGNORECASE,
)
_PREPARATION = {"DX": "ffpe", "TS": "frozen", "BS": "frozen", "MS": "frozen"}  # diagnostic; top, bottom, middle
_COLUMNS = ("patient", "site", "sample_type", "sample_code", "preparation")


def tcga_columns(name: str) -> dict[str, str]:
    """Columns of the slide table that a TCGA barcode tells; none for another name.

    `patient` is the barcode's first 12 characters, `site` the tissue source site (characters 6 and 7), `sample_type`
    tumor (codes 01 to 09), normal (10 to 19; 11 is solid tissue) or control (20 to 29), `sample_code` the code itself
    and `preparation` ffpe (slides DX) or frozen (TS, BS, MS).
    """
    found = _BARCODE.match(name)
    if found is None:
        return {}
    code, slide = found["code"] or "", (found["slide"] or "").upper()
    kind = {"0": "tumor", "1": "normal", "2": "control"}.get(code[:1], "") if code != "00" else ""
    told = (found["patient"].upper(), found["site"].upper(), kind, code, _PREPARATION.get(slide, ""))
    return {column: cell for column, cell in zip(_COLUMNS, told, strict=True) if cell}
