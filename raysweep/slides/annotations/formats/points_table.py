"""Points in a table, as sets of mitoses have them: a CSV file with the columns `x`, `y` and `class`."""

from pathlib import Path

import numpy as np

from raysweep.errors import RequestError, WorkError
from raysweep.slides.annotations.formats import annotation_format
from raysweep.slides.annotations.shapes import Shape, points
from raysweep.text_table import LINE, read_table

_COLUMNS = ("x", "y", "class")


@annotation_format(".csv")
def read(path: Path) -> list[Shape]:
    """One point for each row, in level-0 pixels; other columns are passed by. A table of the header alone has none."""
    try:
        found = read_table(path, f"annotations {path}")
    except RequestError as error:  # of one slide, whose failure it is
        raise WorkError(str(error)) from error
    missing = [name for name in _COLUMNS if name not in found.header]
    if missing:
        raise WorkError(
            f"annotations {path}: has no column {missing[0]}; a table of points begins with {','.join(_COLUMNS)}"
        )
    return [_shape(row, path) for row in found.rows]


def _shape(row: dict[str, str], path: Path) -> Shape:
    where = f"annotations {path}: row {row[LINE]}"
    try:
        place = np.array([[float(row[axis].replace(",", ".")) for axis in "xy"]])  # half of the world's decimal sign
    except ValueError as error:
        raise WorkError(f"{where}: x and y are numbers of pixels, not {row['x']!r} and {row['y']!r}") from error
    name = row["class"]
    if not name:
        raise WorkError(f"{where}: class is empty")
    try:
        return Shape(name, points(place)[0])
    except ValueError as error:
        raise WorkError(f"{where}: {error}") from error
