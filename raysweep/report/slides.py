"""What the report says of slides: every slide's end, failures first, and a few overlays to look at."""

import base64
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from PIL import Image

from raysweep.patches.outcomes import SLIDES, SlideOutcome, read_outcomes
from raysweep.report.tables import Table, number
from raysweep.storage import Storage

MOST_OVERLAYS = 12
_EDGE = 320  # pixels, longer side of an embedded overlay
_ORDER = {"failed": 0, "skipped": 1, "done": 2}
_HEADERS = ("patch set", "slide", "status", "reason", "patient", "split", "um/px", "source", "patches", "left out",
            "tissue mm²")  # fmt: skip
_NUMBERS = frozenset({"um/px", "patches", "tissue mm²"})


@dataclass(frozen=True)
class Overlay:
    """A small picture of one slide: tissue outline and kept patches. `data` is a data: address of a JPEG."""

    patch_set: str
    slide: str
    status: str
    patches: int
    data: str


@dataclass(frozen=True)
class Slides:
    """Slides (failed, skipped, done; then by name), a sentence per patch set, and at most MOST_OVERLAYS overlays."""

    table: Table
    summaries: list[str]
    overlays: list[Overlay]
    without_overlay_shown: int


def read_slides(patch_sets: Mapping[str, Storage]) -> Slides:
    """The slide tables of all patch sets; a patch set that is not there yet is said to be so."""
    found: list[tuple[str, Storage, SlideOutcome]] = []
    summaries = []
    for name, folder in patch_sets.items():
        if not folder.exists(SLIDES):
            summaries.append(f"{name}: not tiled yet.")
            continue
        try:
            rows = read_outcomes(folder)
        except (OSError, TypeError, pa.ArrowException) as error:
            summaries.append(f"{name}: its slide table cannot be read ({type(error).__name__}).")
            continue
        summaries.append(_summary(name, rows))
        found += [(name, folder, row) for row in rows]
    order = {name: i for i, name in enumerate(patch_sets)}
    found.sort(key=lambda f: (_ORDER[f[2].status], order[f[0]], f[2].slide))
    overlays = _overlays(found)
    drawn = sum(bool(row.overlay) for _, _, row in found)
    table = Table("slides", _HEADERS, [_line(name, row) for name, _, row in found], _NUMBERS)
    return Slides(table, summaries, overlays, drawn - len(overlays))


def _summary(name: str, rows: list[SlideOutcome]) -> str:
    counts = Counter(row.status for row in rows)
    patches = sum(row.n_patches or 0 for row in rows)
    ends = ", ".join(f"{counts[s]} {s}" for s in ("done", "failed", "skipped") if counts[s])
    return f"{name}: {len(rows)} slide{'s' * (len(rows) != 1)} ({ends}), {patches:,} patches."


def _line(name: str, row: SlideOutcome) -> list[str]:
    area = row.tissue_area_um2
    return [
        name, row.slide, row.status, row.reason or "", row.patient or "", row.split or "", number(row.mpp),
        row.mpp_source or "", str(row.n_patches or 0), row.dropped or "",
        "" if area is None else number(area / 1e6, 2),
    ]  # fmt: skip


def _overlays(found: list[tuple[str, Storage, SlideOutcome]]) -> list[Overlay]:
    out: list[Overlay] = []
    for name, folder, row in found:
        if len(out) == MOST_OVERLAYS:
            break
        data = _picture(folder, row.overlay) if row.overlay else None
        if data:
            out.append(Overlay(name, row.slide, row.status, row.n_patches or 0, data))
    return out


def _picture(folder: Storage, path: str) -> str | None:
    """A data: address of the picture made small; None when it cannot be read."""
    try:
        image = Image.open(io.BytesIO(folder.read_bytes(*path.split("/")))).convert("RGB")
    except OSError:
        return None
    image.thumbnail((_EDGE, _EDGE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
