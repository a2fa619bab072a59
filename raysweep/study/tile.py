"""Tile slides without a study."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from raysweep.errors import RequestError
from raysweep.lease import lease
from raysweep.progress import Progress
from raysweep.slides.inputs import patch_set_inputs
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table import read_slides
from raysweep.storage import Artefact, Storage
from raysweep.study.cluster import check_nodes, cluster

_SEED = 0
_COLUMNS = ("slide", "status", "reason", "mpp", "n_patches", "dropped")


def tile_slides(
    sources: Sequence[str], *, um: float, px: int, out: Path, workers: int | None, progress: Progress
) -> tuple[list[str], list[list[str]], bool]:
    """Make a patch set `out/<fp8>` from slide files, globs or slide tables.

    `um` and `px` are the edge of a patch in the specimen and in pixels. Returns a header and a row per slide, and
    whether some slides failed. Raises RequestError for sources that name no slide.
    """
    specs = [PatchSetSpec(slides=str(source), um=um, px=px) for source in sources]
    slides = sorted((s for spec in specs for s in read_slides(spec, Path.cwd())), key=lambda s: s.name)
    double = [name for name, n in Counter(s.name for s in slides).items() if n > 1]
    if double:
        raise RequestError(f"two slides are called {double[0]}; give them as a slide table with a column `slide`")
    home = Storage.open(out)
    home.check_writable()
    artefact = Artefact(home, patch_set_inputs(specs[0], slides, _SEED))
    if not artefact.done():
        with lease(home), cluster(progress, cpus=workers):
            from raysweep.slides.tile import tile

            check_nodes(home, [s.path for s in slides[:100]])
            tile(specs[0], slides, artefact, home.at("spool"), seed=_SEED, workers=workers, progress=progress)
            home.write_bytes(f"{artefact.fingerprint[:8]}\n".encode(), "current")
    table = artefact.folder.read_table("slides.parquet", columns=list(_COLUMNS)).to_pylist()
    rows = [[_shown(row[column]) for column in _COLUMNS] for row in table]
    return list(_COLUMNS), rows, any(row["status"] == "failed" for row in table)


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
