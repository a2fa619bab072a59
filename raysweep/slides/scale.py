"""The one scale of a patch set: given, or native and then the same for all its slides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median_low
from typing import Any

from raysweep.errors import reason_of
from raysweep.patches.shuffle.parallel import in_parallel
from raysweep.progress import Progress
from raysweep.retry import retried
from raysweep.slides.native import may_copy, native_tile
from raysweep.slides.sidecars import Sidecars
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import SlideEntry
from raysweep.storage import Storage, fingerprint

_SAME = 1.05  # mpp of two slides that count as one scale, at most this ratio


@dataclass(frozen=True)
class Scale:
    """What native scale means for a patch set.

    mpp: um per pixel of its patches. copy: whether the slides' own JPEG tiles are stored: only if all slides that can
    be opened have them, for a mix of compressions would be a batch effect. skipped: slides of another scale, and why.
    """

    mpp: float = 0.0
    copy: bool = False
    skipped: Mapping[str, str] = field(default_factory=dict)


def native_scale(
    spec: PatchSetSpec,
    slides: Sequence[SlideEntry],
    inputs: Mapping[str, Any],
    spool: Storage,
    workers: int | None,
    fetch_bytes: int,
    progress: Progress,
) -> Scale:
    """Look at every slide's resolution and tiles, if the patch set asks for native scale; its pixels are not read.

    What is found is kept in the spool. A slide that cannot be opened is ignored here: tiling will say why.
    """
    if spec.mpp != "native":
        return Scale()
    identified = {entry["name"]: entry for entry in inputs["slides"]}
    found: dict[str, dict[str, Any]] = {}
    calls = []
    for slide in slides:
        if "identity" not in identified[slide.name]:
            continue
        about = {"mpp": slide.mpp, "slide_mpp": spec.slide_mpp, "reader": spec.reader}
        about["identity"] = identified[slide.name]["identity"]
        kept = ("native", f"{fingerprint(about)[:16]}.json")
        if spool.exists(*kept):
            found[slide.name] = spool.read_json(*kept)
        else:
            calls.append((spec, slide, fetch_bytes, spool, kept))
    with progress.stage("scale", len(slides), "slides") as stage:
        stage.resume(len(slides) - len(calls))
        for name, look in in_parallel(_look, calls, workers, "looking at slides"):
            stage.advance()
            found[name] = look
    known = {name: look for name, look in found.items() if look["mpp"] is not None}
    if not known:
        return Scale()
    mpp = median_low(look["mpp"] for look in known.values())
    skipped = {
        name: f"native scale of {look['mpp']:.4g} um per pixel where the patch set's slides have {mpp:.4g}: give `um`, "
        "or a patch set for each scale"
        for name, look in known.items()
        if max(look["mpp"], mpp) / min(look["mpp"], mpp) > _SAME
    }
    tiles = {tuple(look["tile"] or ()) for name, look in known.items() if name not in skipped}
    return Scale(mpp, may_copy(spec) and tiles == {(spec.px, spec.px)}, skipped)


def _facts(spec: PatchSetSpec, entry: SlideEntry, fetch_bytes: int) -> dict[str, Any]:
    with (
        Sidecars.of(entry, fetch_bytes, by_parts=spec.reader == "auto") as sidecars,
        sidecars.slide(spec) as slide,
    ):
        return {"mpp": slide.mpp, "tile": native_tile(slide)}


def _look(
    spec: PatchSetSpec, entry: SlideEntry, fetch_bytes: int, spool: Storage, kept: tuple[str, str]
) -> tuple[str, dict[str, Any]]:
    try:
        look = retried(lambda: _facts(spec, entry, fetch_bytes))
    except Exception as error:  # whatever it is, it concerns this slide alone
        return entry.name, {"mpp": None, "reason": reason_of(error)}
    spool.write_json(look, *kept)
    return entry.name, look
