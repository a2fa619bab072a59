"""The kept places of every slide for other programs: CLAM, TRIDENT, QuPath."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from raysweep.errors import WorkError
from raysweep.patches.shuffle.parallel import in_parallel
from raysweep.patches.shuffle.spool import BOX, read_piece
from raysweep.progress import Progress
from raysweep.slides.exports.h5 import clam_bytes, trident_bytes
from raysweep.slides.exports.qupath import kept_grid
from raysweep.slides.grid import Grid
from raysweep.slides.outcomes import WRITTEN, Outcome, written_exports
from raysweep.slides.places import Places
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import file_stem
from raysweep.storage import Storage


def export_places(
    spec: PatchSetSpec,
    folder: Storage,
    spool: Storage,
    outcomes: Mapping[str, Outcome],
    classes: Sequence[str],
    workers: int | None,
    progress: Progress,
) -> dict[str, str]:
    """Write `clam/<slide>.h5`, `trident/<slide>.h5` and `geojson/<slide>.geojson`, those that the patch set asks for.

    `outcomes` are by name of slides that gave patches. Returns, by slide, which of them the patches do not fit and why.
    """
    if not spec.export:
        return {}
    if sorted(spec.export) == written_exports(folder):
        return {}
    calls = [(spec, folder, spool, slide, outcome, list(classes)) for slide, outcome in outcomes.items()]
    missing = {}
    with progress.stage("export", len(calls), "slides") as stage:
        for slide, reason in in_parallel(_export, calls, workers, "writing coordinates"):
            missing[slide] = reason
            stage.advance()
    folder.write_json(sorted(spec.export), WRITTEN)
    return {slide: missing[slide] for slide in outcomes if missing[slide]}


def _export(
    spec: PatchSetSpec, folder: Storage, spool: Storage, slide: str, outcome: Outcome, classes: Sequence[str]
) -> tuple[str, str]:
    """The slide and, in words, what could not be written."""
    survey = outcome.survey
    assert survey is not None  # it gave patches
    grid = Grid(**survey["grid"])
    places = _places(spool, outcome.pieces)
    missing = []
    for kind in spec.export:
        try:
            if kind == "geojson":
                data = kept_grid(_for_qupath(places, grid, survey["origin"]), grid, classes)
            elif kind == "clam":
                data = clam_bytes(places, grid, slide)
            else:
                data = trident_bytes(places, grid, slide, px=spec.px, mpp=survey["mpp"])
        except WorkError as error:
            missing.append(f"{kind}: {error}")
            continue
        folder.write_bytes(data, kind, f"{file_stem(slide)}.{'geojson' if kind == 'geojson' else 'h5'}")
    return slide, "; ".join(missing)


def _places(spool: Storage, pieces: Sequence[Mapping[str, Any]]) -> Places:
    """The places of the patches in some pieces, row by row."""
    columns = ["x", "y", *BOX, "tissue", "label"]
    rows = pa.concat_tables(read_piece(spool, piece["path"], columns=columns) for piece in pieces)
    rows = rows.sort_by([("y", "ascending"), ("x", "ascending"), ("right", "ascending")])
    corner, box = (np.stack([rows[name].to_numpy() for name in names], axis=1) for names in (("x", "y"), BOX))
    label = rows["label"].fill_null(-1).to_numpy()
    return Places.of(corner, box).but(tissue=rows["tissue"].to_numpy(), label=label)


def _for_qupath(places: Places, grid: Grid, origin: Sequence[int]) -> Places:
    """The places as QuPath counts: from the corner of the scanned area."""
    box = places.box - np.rint(np.array([*origin, *origin]) / (*grid.downsample, *grid.downsample)).astype(int)
    return Places(places.corner - np.array(origin), box, places.tissue, places.label)
