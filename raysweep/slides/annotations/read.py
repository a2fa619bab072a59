"""The annotations of a slide from a file."""

from pathlib import Path

from raysweep.errors import WorkError
from raysweep.slides.annotations.formats import annotation_formats
from raysweep.slides.annotations.shapes import Shape


def read_annotations(path: str | Path) -> list[Shape]:
    """Everything that an annotation file holds, in its order; the suffix tells the format.

    Raises WorkError, naming the file and the place in it, when it cannot be read.
    """
    path = Path(path)
    formats = annotation_formats()
    read = formats.get(path.suffix.lower())
    if read is None:
        raise WorkError(f"annotations {path}: no format has the suffix {path.suffix or '(none)'}: {', '.join(formats)}")
    try:
        return read(path)
    except OSError as error:
        raise WorkError(f"annotations {path}: cannot be read ({error.strerror or error})") from error
