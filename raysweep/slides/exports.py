"""The kept places of every slide for other programs: CLAM, TRIDENT, QuPath."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from raysweep.slides.coordinates.write import clam_bytes, trident_bytes
from raysweep.slides.geojson import kept_grid
from raysweep.slides.grid import Grid
from raysweep.slides.parallel import in_parallel
from raysweep.slides.places import Places
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.spool import read_piece
from raysweep.storage import Storage

_COLUMNS = ["x", "y", "tissue", "label"]


def export_places(
    spec: PatchSetSpec,
    folder: Storage,
    spool: Storage,
    outcomes: Mapping[str, Mapping[str, Any]],
    classes: Sequence[str],
    workers: int | None,
) -> None:
    """Write `clam/<slide>.h5`, `trident/<slide>.h5` and `geojson/<slide>.geojson`, those that the patch set asks for.

    `outcomes` are by name of slides that gave patches.
    """
    if spec.export:
        calls = [(spec, folder, spool, slide, dict(outcome), list(classes)) for slide, outcome in outcomes.items()]
        for _ in in_parallel(_export, calls, workers, "writing coordinates"):
            pass


def _export(
    spec: PatchSetSpec, folder: Storage, spool: Storage, slide: str, outcome: Mapping[str, Any], classes: Sequence[str]
) -> None:
    survey = outcome["survey"]
    grid = Grid(**survey["grid"])
    places = _places(spool, outcome["pieces"], grid)
    name = quote(slide, safe=" ")
    for kind in spec.export:
        if kind == "geojson":
            folder.write_bytes(kept_grid(_for_qupath(places, grid, survey["origin"]), grid, classes), kind,
                               f"{name}.geojson")  # fmt: skip
        elif kind == "clam":
            folder.write_bytes(clam_bytes(places, grid, slide), kind, f"{name}.h5")
        else:
            data = trident_bytes(places, grid, slide, px=spec.px, mpp=survey["mpp"])
            folder.write_bytes(data, kind, f"{name}.h5")


def _places(spool: Storage, pieces: Sequence[Mapping[str, Any]], grid: Grid) -> Places:
    """The places of the patches in some pieces, row by row."""
    rows = pa.concat_tables(read_piece(spool, piece["path"], columns=_COLUMNS) for piece in pieces)
    rows = rows.sort_by([("y", "ascending"), ("x", "ascending")])
    x, y = rows["x"].to_numpy(), rows["y"].to_numpy()
    ends = np.stack([x + grid.edge[0], y + grid.edge[1]], axis=1)
    box = np.floor(np.hstack([np.stack([x, y], axis=1), ends]) / (*grid.downsample, *grid.downsample) + 0.5).astype(
        np.int64
    )
    label = rows["label"].fill_null(-1).to_numpy()
    return Places.of(np.stack([x, y], axis=1), box).but(tissue=rows["tissue"].to_numpy(), label=label)


def _for_qupath(places: Places, grid: Grid, origin: Sequence[int]) -> Places:
    """The places as QuPath counts: from the corner of the scanned area."""
    box = places.box - np.rint(np.array([*origin, *origin]) / (*grid.downsample, *grid.downsample)).astype(int)
    return Places(places.corner - np.array(origin), box, places.tissue, places.label)
