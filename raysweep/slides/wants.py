"""Whether a slide table holds what its patch set asks of it."""

from collections.abc import Sequence

from raysweep.errors import RequestError
from raysweep.slides.labels.classes import classes_of
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table_entries_tmp import SlideEntry


def check_wants(spec: PatchSetSpec, slides: Sequence[SlideEntry]) -> None:
    """Raise RequestError when a key of the patch set needs a column or a value that no slide has."""
    columns = {column for slide in slides for column, cell in slide.columns.items() if cell}
    needs = [("labels.background_from", column) for column in spec.labels.background_from]
    needs += [("labels.values_by", spec.labels.values_by)] if spec.labels.values_by else []
    needs += [("split_within", spec.split_within)] if spec.split_within else []
    needs += [("labels", "annotations")] if spec.labels.reads_annotations else []
    needs += [("labels", "mask")] if spec.labels.reads_masks else []
    needs += [("tissue.method", spec.tissue.method)] if spec.tissue.method in ("mask", "annotations") else []
    for key, column in needs:
        if column not in columns:
            raise RequestError(f"{key}: needs the column `{column}` in the slide table, which names none; add it")
    classes_of(spec.labels, [slide.label for slide in slides if slide.label is not None])
