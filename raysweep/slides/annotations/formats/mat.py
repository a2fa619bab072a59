"""Points in a MATLAB file, as CRCHistoPhenotypes has them: a variable of x and y for each class."""

from pathlib import Path

import numpy as np
import scipy.io

from raysweep.errors import WorkError
from raysweep.slides.annotations.formats import annotation_format
from raysweep.slides.annotations.shapes import Shape, points


@annotation_format(".mat")
def read(path: Path) -> list[Shape]:
    """One point for each row of every variable, in level-0 pixels; the class is the name of the variable."""
    try:
        held = scipy.io.loadmat(path)
    except OSError:
        raise
    except Exception as error:  # what is no MATLAB file, or one of version 7.3, raises anything
        raise WorkError(f"annotations {path}: is no MATLAB file that can be read ({error})") from error
    shapes = []
    for name, value in held.items():
        if name.startswith("__"):
            continue
        table = np.asarray(value)
        if table.size == 0:
            continue
        if table.ndim != 2 or table.shape[1] != 2 or table.dtype.kind not in "uif" or not np.isfinite(table).all():
            raise WorkError(f"annotations {path}: {name} is no list of x and y, two finite numbers a row")
        shapes += [Shape(name, point) for point in points(table.astype(np.float64))]
    return shapes
