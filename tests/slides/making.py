"""Patch sets made in tests, on a running Ray."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raysweep.progress import Progress
from raysweep.slides.inputs import patch_set_inputs
from raysweep.slides.pipeline import Limits
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import SlideEntry
from raysweep.slides.tile import tile
from raysweep.storage import Artefact, Storage


@dataclass
class Made:
    """A finished patch set and what it was made of."""

    slides: list[SlideEntry]
    artefact: Artefact
    spool: Storage
    table: pa.Table

    @property
    def shards(self) -> dict[str, bytes]:
        folder = self.artefact.folder
        return {name: folder.read_bytes("shards", name) for name in folder.names("shards")}

    @property
    def rows(self) -> pa.Table:
        tables = [self.artefact.folder.read_table("shards", name) for name in self.artefact.folder.names("shards")]
        return pa.concat_tables([t.set_column(1, "slide", t["slide"].cast(pa.string())) for t in tables])

    def row(self, slide: str) -> dict[str, Any]:
        return next(row for row in self.table.to_pylist() if row["slide"] == slide)


def make(
    spec: PatchSetSpec,
    slides: list[SlideEntry],
    out: Storage,
    spool: Storage | None = None,
    *,
    seed: int = 0,
    workers: int | None = 2,  # of four: each process more would only be one more that imports torch
    inputs: dict[str, Any] | None = None,
    limits: Limits = Limits(),
    progress: Progress = Progress(quiet=True),
) -> Made:
    artefact = Artefact(out.at("patches", "small"), inputs or patch_set_inputs(spec, slides, seed))
    spool = spool or out.at("spool")
    table = tile(spec, slides, artefact, spool, seed=seed, workers=workers, progress=progress, limits=limits)
    return Made(slides, artefact, spool, table)
