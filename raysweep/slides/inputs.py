"""What the fingerprint of a patch set covers."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from raysweep.patches.schema import FORMAT
from raysweep.slides.labels.mask_classes import mask_classes_of
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.spool import FORMAT as SPOOL_FORMAT
from raysweep.slides.table import SlideEntry
from raysweep.storage import file_identity, locate

_THREADS = 16  # two MiB are read of each slide: waiting, not computing
# A mask is compressed and changes its size when it is changed; the largest are as large as slides.
_MASK_BYTES = 16 * 2**20  # a mask up to this size is read as a whole


def patch_set_inputs(spec: PatchSetSpec, slides: Sequence[SlideEntry], seed: int) -> dict[str, Any]:
    """The tiling keys, the columns of the slide table that are used, and each slide file's identity.

    The order of the classes, which a fingerprint of the keys does not see, gives their ids and decides who wins, so it
    is named. Where the files lie and how they were chosen (`slides`, `root`, `where`) stays out. A slide whose file is
    missing or cannot be read has `missing` in place of its identity. Files beside the slide are read as a whole, but
    for large masks.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        entries = list(pool.map(lambda slide: _slide_inputs(slide, spec), slides))
    keys = spec.model_dump(mode="json", exclude={"slides", "root", "where", "coords"})
    order = [list(spec.labels.classes), spec.labels.value_classes()]
    slides_by_name = sorted(entries, key=lambda entry: entry["name"])
    return {"format": FORMAT, "seed": seed, **keys, "class_order": order, "slides": slides_by_name}


def _slide_inputs(slide: SlideEntry, spec: PatchSetSpec) -> dict[str, Any]:
    try:
        file: dict[str, Any] = {"identity": file_identity(slide.path)}
    except (OSError, ValueError):  # a name that is not UTF-8, or has a NUL, is no name of a file to Arrow
        file = {"missing": True}
    for name, most in (("mask", _MASK_BYTES), ("annotations", None), ("coords", None)):
        path = getattr(slide, name)
        if path is not None:
            try:
                file[name] = _sidecar_identity(path, most)
            except (OSError, ValueError):
                file[name] = "missing"
    table: dict[str, Any] = {"mpp": slide.mpp, "stain": slide.stain, "patient": slide.patient, "site": slide.site,
             "label": slide.label, "split": slide.split}  # fmt: skip
    if spec.split_within is not None:
        table["split_within"] = slide.columns.get(spec.split_within, "")
    used = [*spec.labels.background_from, *([spec.labels.values_by] if spec.labels.values_by else [])]
    if used:
        table["columns"] = {name: slide.columns.get(name, "") for name in used}
    return {"name": slide.name, **table, **file}


def _sidecar_identity(path: str, most: int | None) -> dict[str, Any]:
    """As `file_identity`, with a hash of the whole file unless it is larger than `most` bytes.

    Annotations and coordinates are edited in place: a vertex that moves leaves the size and both ends as they were.
    """
    fs, inside = locate(path)
    with fs.open_input_file(inside) as file:
        size = file.size()
        if most is not None and size > most:
            return file_identity(path)
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    return {"name": inside.rpartition("/")[2], "size": size, "hash": digest.hexdigest()}


def spool_inputs(
    spec: PatchSetSpec, slide_inputs: dict[str, Any], seed: int, *, classes: Sequence[str], copy: bool
) -> dict[str, Any]:
    """What the patches of one slide depend on; `slide_inputs` is its entry of `patch_set_inputs(...)["slides"]`.

    Patient, split and a label of the whole slide are not part of it: they are written into the rows when slides are
    merged. `classes` are the names of the labels by id, `copy` says whether the slide's own tiles are stored.
    """
    merged = {"slides", "root", "where", "split", "split_by", "split_within", "coords", "export"}
    keys = spec.model_dump(mode="json", exclude=merged)
    if spec.labels.source == "slide":
        keys["labels"] = spec.labels.model_dump(mode="json", exclude={"classes", "ignore"})
    else:
        keys["classes"] = list(classes)
    keys["mask_classes"] = mask_classes_of(spec.labels)
    names = ("name", "mpp", "stain", "columns", "identity", "mask", "annotations", "coords")
    kept = {name: slide_inputs[name] for name in names if name in slide_inputs}
    return {"format": [FORMAT, SPOOL_FORMAT], "seed": seed, "copy": copy, **keys, **kept}
