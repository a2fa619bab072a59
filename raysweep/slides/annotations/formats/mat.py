"""Points in a MATLAB file, as CRCHistoPhenotypes has them: a variable of x and y for each class."""

from pathlib import Path

import numpy as np

from raysweep.errors import WorkError
from raysweep.mat_file import mat_arrays
from raysweep.slides.annotations.formats import annotation_format
from raysweep.slides.annotations.shapes import Shape, points


@annotation_format(".mat")
def read(path: Path) -> list[Shape]:
    """One point for each row of every variable, in level-0 pixels; the class is the name of the variable."""
    try:
        held = mat_arrays(path)
    except OSError:
        raise
    except WorkError as error:
        raise WorkError(f"annotations {path}: {error}") from error
    except Exception as error:  # what is no MATLAB file, or a damaged one, raises anything
        raise WorkError(f"annotations {path}: is no MATLAB file that can be read ({error})") from error
    shapes = []
    for name, table in held.items():
        if table.size == 0:
            continue
        if table.ndim != 2 or table.shape[1] != 2 or table.dtype.kind not in "uif" or not np.isfinite(table).all():
            raise WorkError(f"annotations {path}: {name} is no list of x and y, two finite numbers a row")
        try:
            shapes += [Shape(name, point) for point in points(table.astype(np.float64))]
        except ValueError as error:
            raise WorkError(f"annotations {path}: {name}: {error}") from error
    return shapes
