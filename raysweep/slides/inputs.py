"""What the fingerprint of a patch set covers."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from raysweep.patches.schema import FORMAT
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table import SlideEntry
from raysweep.storage import file_identity

_THREADS = 16  # two MiB are read of each slide: waiting, not computing


def patch_set_inputs(spec: PatchSetSpec, slides: Sequence[SlideEntry], seed: int) -> dict[str, Any]:
    """The tiling keys, the columns of the slide table that are used, and each slide file's identity.

    Where the files lie and how they were chosen (`slides`, `root`, `where`) stays out. A slide whose file is missing
    or cannot be read has `missing` in place of its identity.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        entries = list(pool.map(_slide_inputs, slides))
    keys = spec.model_dump(mode="json", exclude={"slides", "root", "where"})
    return {"format": FORMAT, "seed": seed, **keys, "slides": sorted(entries, key=lambda entry: entry["name"])}


def _slide_inputs(slide: SlideEntry) -> dict[str, Any]:
    try:
        file: dict[str, Any] = {"identity": file_identity(slide.path)}
    except OSError:
        file = {"missing": True}
    table = {"mpp": slide.mpp, "patient": slide.patient, "site": slide.site, "label": slide.label, "split": slide.split}
    return {"name": slide.name, **table, **file}


def spool_inputs(spec: PatchSetSpec, slide_inputs: dict[str, Any], seed: int) -> dict[str, Any]:
    """What the patches of one slide depend on, of one entry of `patch_set_inputs(...)["slides"]`.

    Patient, label and split are not part of it: they are written into the rows when slides are merged.
    """
    keys = spec.model_dump(mode="json", exclude={"slides", "root", "where", "split"})
    kept = {name: slide_inputs[name] for name in ("name", "mpp", "identity")}
    return {"format": FORMAT, "seed": seed, **keys, **kept}
