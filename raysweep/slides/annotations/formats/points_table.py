"""Points in a table, as sets of mitoses have them: a CSV file with the columns `x`, `y` and `class`."""

import csv
from pathlib import Path

import numpy as np

from raysweep.errors import WorkError
from raysweep.slides.annotations.formats import annotation_format
from raysweep.slides.annotations.shapes import Shape, points

_COLUMNS = ("x", "y", "class")


@annotation_format(".csv")
def read(path: Path) -> list[Shape]:
    """One point for each row, in level-0 pixels; other columns are passed by. A table of the header alone has none."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            header = [(name or "").strip() for name in rows.fieldnames or []]
            missing = [name for name in _COLUMNS if name not in header]
            if missing:
                raise WorkError(
                    f"annotations {path}: has no column {missing[0]}; a table of points begins with "
                    f"{','.join(_COLUMNS)}"
                )
            rows.fieldnames = header
            return [_shape(row, path, number) for number, row in enumerate(rows, start=2)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise WorkError(f"annotations {path}: is no CSV table ({error})") from error


def _shape(row: dict[str, str], path: Path, number: int) -> Shape:
    where = f"annotations {path}: row {number}"
    try:
        place = np.array([[float(row["x"]), float(row["y"])]])
    except (TypeError, ValueError) as error:
        raise WorkError(f"{where}: x and y are numbers of pixels, not {row['x']!r} and {row['y']!r}") from error
    name = (row["class"] or "").strip()
    if not name or not np.isfinite(place).all():
        raise WorkError(f"{where}: {'x or y is not finite' if name else 'class is empty'}")
    return Shape(name, points(place)[0])
