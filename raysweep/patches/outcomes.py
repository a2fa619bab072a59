"""What became of every slide of a patch set: one reader for all who ask."""

from dataclasses import dataclass, fields
from typing import Literal

import pyarrow as pa

from raysweep.errors import DamagedFileError
from raysweep.storage import Storage

Status = Literal["done", "failed", "skipped"]
SLIDES = "slides.parquet"


@dataclass(frozen=True)
class SlideOutcome:
    """One row of a patch set's slide table; what a table does not hold, or a slide does not have, is None.

    status: done, failed (it could not be read: the next run tries again) or skipped (it has nothing to give); `reason`
    says why. mpp: um per pixel of level 0, and `mpp_source` where that is from. n_patches: in the shards. dropped:
    counts of what was left out, in words. overlay: file below the patch set. export_missing: which export of it could
    not be written, and why. origin: level-0 pixel at the corner of the scanned area, from which QuPath counts.
    """

    slide: str
    status: Status
    reason: str | None = None
    patient: str | None = None
    site: str | None = None
    label: str | None = None
    split: str | None = None
    mpp: float | None = None
    mpp_source: str | None = None
    n_patches: int | None = None
    dropped: str | None = None
    tissue_area_um2: float | None = None
    overlay: str | None = None
    export_missing: str | None = None
    origin_x: int | None = None
    origin_y: int | None = None


class _DamagedTableError(DamagedFileError, pa.ArrowInvalid):
    """For those who go on without the table, and for those who are told."""


def read_outcomes(folder: Storage) -> list[SlideOutcome]:
    """The slide table of a patch set, in its order; nothing where there is none yet.

    Raises OSError, or a DamagedFileError that is an Arrow error as well.
    """
    if not folder.exists(SLIDES):
        return []
    try:
        table = folder.read_table(SLIDES)
    except pa.ArrowInvalid as error:
        raise _DamagedTableError(folder.path(SLIDES)) from error
    known = [field.name for field in fields(SlideOutcome) if field.name in table.column_names]
    return [SlideOutcome(**row) for row in table.select(known).to_pylist()]
