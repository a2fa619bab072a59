"""What the fingerprint of a patch set covers, and that of the patches of one slide."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from raysweep.errors import RequestError
from raysweep.patches.schema import FORMAT
from raysweep.patches.shuffle.spool import FORMAT as SPOOL_FORMAT
from raysweep.retry import retried
from raysweep.slides.copies import copies_among
from raysweep.slides.identity import MASK_BYTES, Identities
from raysweep.slides.labels.classes import mask_classes_of
from raysweep.slides.spec import ASIDE, PatchSetSpec
from raysweep.slides.table.entries import SlideEntry

_THREADS = 16  # two MiB are read of each slide: waiting, not computing


def patch_set_inputs(
    spec: PatchSetSpec, slides: Sequence[SlideEntry], seed: int, identities: Identities | None = None
) -> dict[str, Any]:
    """The tiling keys, the columns of the slide table that are used, and each slide's identity.

    The order of the classes, which a fingerprint of the keys does not see, gives their ids and decides who wins, so it
    is named. Where the files lie, how they were chosen (`slides`, `root`, `where`, `exclude`) and what is written
    beside the patches (`export`) stay out, and so do columns and files that no key reads. A slide whose file is missing
    or cannot be read has `missing` in place of its identity. `copies` are slides of one content that would be dealt to
    splits by themselves, if there are any. `identities` are remembered ones.
    """
    identities = identities or Identities()
    with ThreadPoolExecutor(_THREADS) as pool:
        entries = list(pool.map(lambda slide: _slide_inputs(slide, spec, identities), slides))
    keys = spec.model_dump(mode="json", exclude=set(ASIDE))
    order = [list(spec.labels.classes), spec.labels.value_classes()]
    slides_by_name = sorted(entries, key=lambda entry: entry["name"])
    inputs = {"format": FORMAT, "seed": seed, **keys, "class_order": order, "slides": slides_by_name}
    copies = _divided(copies_among(slides_by_name), slides, spec)
    return inputs | ({"copies": copies} if copies else {})


def _divided(copies: list[list[str]], slides: Sequence[SlideEntry], spec: PatchSetSpec) -> list[list[str]]:
    """The copies that are of several units and could come into several splits: they are dealt as one.

    Raises RequestError where the slide table has them in several.
    """
    entries = {slide.name: slide for slide in slides}
    if not any(spec.split.values()) and not any(slide.split for slide in slides):
        return []
    found = [names for names in copies if len({entries[name].unit(spec.split_by) for name in names}) > 1]
    for names in found:
        splits = {entries[name].split: name for name in names if entries[name].split is not None}
        if len(splits) > 1:
            (one, first), (other, second), *_ = sorted(splits.items())
            raise RequestError(
                f"slides {first} and {second} have the same content and are in the splits {one} and {other}; keep one "
                "of them, or both in one split"
            )
    return found


def _slide_inputs(slide: SlideEntry, spec: PatchSetSpec, identities: Identities) -> dict[str, Any]:
    try:
        file: dict[str, Any] = {"identity": retried(lambda: identities.of_slide(slide.path))}
    except (OSError, ValueError):  # a name that is not UTF-8, or has a NUL, is no name of a file to Arrow
        file = {"missing": True}
    labels, tissue = spec.labels, spec.tissue.method
    reads = {
        "mask": (labels.reads_masks or tissue == "mask", MASK_BYTES),
        "annotations": (labels.reads_annotations or tissue == "annotations", None),
        "coords": (True, None),
    }
    for name, (read, most_bytes) in reads.items():
        path = getattr(slide, name)
        if path is not None and read:
            try:
                file[name] = identities.of_file(path, most_bytes)
            except (OSError, ValueError):
                file[name] = "missing"
    table: dict[str, Any] = {"mpp": slide.mpp, "stain": slide.stain, "patient": slide.patient, "split": slide.split}
    if labels.source == "slide":
        table["label"] = slide.label
    if spec.split_by == "site":
        table["site"] = slide.site
    if spec.split_within is not None:
        table["split_within"] = slide.columns.get(spec.split_within, "")
    used = [*labels.background_from, *([labels.values_by] if labels.values_by else [])]
    if used:
        table["columns"] = {name: slide.columns.get(name, "") for name in used}
    return {"name": slide.name, **table, **file}


def spool_inputs(
    spec: PatchSetSpec, slide_inputs: dict[str, Any], seed: int, *, classes: Sequence[str], copy: bool
) -> dict[str, Any]:
    """What the patches of one slide depend on; `slide_inputs` is its entry of `patch_set_inputs(...)["slides"]`.

    Patient, split and a label of the whole slide are not part of it: they are written into the rows when slides are
    merged; nor is a scale for slides that say none, where the table gives one. `classes` are the names of the labels by
    id, `copy` says whether the slide's own tiles are stored.
    """
    merged = {"split", "split_by", "split_within"}
    keys = spec.model_dump(mode="json", exclude=merged.union(ASIDE))
    if spec.labels.source == "slide":
        keys["labels"] = spec.labels.model_dump(mode="json", exclude={"classes", "ignore"})
    else:
        keys["classes"] = list(classes)
    keys["mask_classes"] = mask_classes_of(spec.labels)
    if slide_inputs["mpp"] is not None:
        keys["slide_mpp"] = None
    names = ("name", "mpp", "stain", "columns", "identity", "mask", "annotations", "coords")
    kept = {name: slide_inputs[name] for name in names if name in slide_inputs}
    return {"format": [FORMAT, SPOOL_FORMAT], "seed": seed, "copy": copy, **keys, **kept}
