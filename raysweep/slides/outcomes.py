"""What became of every slide: as tiling finds it out, and as the table of a patch set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from raysweep.errors import WorkError
from raysweep.patches.outcomes import Status
from raysweep.slides.table.entries import SlideEntry, file_stem
from raysweep.storage import Storage

_TABLE = pa.schema([
    ("slide", pa.string()), ("path", pa.string()), ("patient", pa.string()), ("site", pa.string()),
    ("label", pa.string()), ("split", pa.string()), ("status", pa.string()), ("reason", pa.string()),
    ("mpp", pa.float64()), ("mpp_source", pa.string()), ("width", pa.int64()), ("height", pa.int64()),
    ("origin_x", pa.int64()), ("origin_y", pa.int64()),
    ("level", pa.int32()), ("factor", pa.float64()), ("reader", pa.string()),
    ("icc", pa.bool_()), ("stain", pa.string()), ("n_tissue", pa.int64()), ("n_patches", pa.int64()),
    ("dropped", pa.string()), ("tissue_area_um2", pa.float64()),
    ("overlay", pa.string()), ("export_missing", pa.string()), ("tile_seconds", pa.float64()),
])  # fmt: skip


WRITTEN = "exports.json"  # below the patch set: the exports that were written


class NoPatchSet(WorkError):
    """Too many slides failed, or none gave a patch: there is no patch set, but its table of slides says why."""


def written_exports(folder: Storage) -> list[str]:
    """The exports that were written for a patch set, as far as its slides allow."""
    return list(folder.read_json(WRITTEN)) if folder.exists(WRITTEN) else []


def overlay_path(slide: str) -> str:
    """Where a slide's overlay lies below its patch set."""
    return f"overlays/{file_stem(slide)}.jpg"


def words_of(counts: Mapping[str, int]) -> str:
    """Counts by reason in words, such as `12 blurred, 3 blank`."""
    return ", ".join(f"{n} {reason}" for reason, n in sorted(counts.items()) if n)


@dataclass(frozen=True)
class Outcome:
    """What tiling found out about one slide; plain values, which the spool keeps as JSON.

    survey: see `pipeline.read_slides_into`; None where the slide was not looked at. dropped: places that are no patch,
    by reason. folder: its own, below the spool. pieces: `path` below the spool, `rows` and `bytes` of each.
    """

    status: Status
    reason: str | None
    survey: dict[str, Any] | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    folder: str | None = None
    pieces: list[dict[str, Any]] = field(default_factory=list)
    tile_seconds: float = 0.0


def slide_table(
    slides: Sequence[SlideEntry],
    outcomes: Mapping[str, Outcome],
    splits: Mapping[str, str],
    missing: Mapping[str, str],
) -> pa.Table:
    """One row for every slide: what became of it, why, and what is known of it.

    `splits` are those of slides that were dealt to one. `missing` says of slides which export of theirs could not be
    written, and why.
    """
    rows = []
    for slide in slides:
        outcome = outcomes[slide.name]
        survey = outcome.survey or {}
        grid = survey.get("grid") or {}
        width, height = survey.get("size", (None, None))
        origin_x, origin_y = survey.get("origin", (None, None))
        rows.append({
            "slide": slide.name,
            "path": _portable(slide.given or slide.path),
            "patient": slide.patient,
            "site": slide.site,
            "label": slide.label,
            "split": splits.get(slide.name),
            "status": outcome.status,
            "reason": outcome.reason,
            "mpp": survey.get("mpp"),
            "mpp_source": survey.get("mpp_source"),
            "width": width,
            "height": height,
            "origin_x": origin_x,
            "origin_y": origin_y,
            "level": grid.get("level"),
            "factor": grid.get("factor"),
            "reader": survey.get("reader"),
            "icc": survey.get("icc"),
            "stain": slide.stain,
            "n_tissue": survey.get("n_tissue", 0),
            "n_patches": sum(piece["rows"] for piece in outcome.pieces),
            "dropped": words_of(outcome.dropped) or None,
            "tissue_area_um2": survey.get("tissue_area_um2"),
            "overlay": overlay_path(slide.name) if survey.get("overlay") else None,
            "export_missing": missing.get(slide.name),
            "tile_seconds": outcome.tile_seconds,
        })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=_TABLE)


def _portable(path: str) -> str:
    """A path as the slide table has it; of one that begins at this machine's root, the file's name."""
    return path.rpartition("/")[2] if path.startswith("/") else path


def same_outcomes(table: pa.Table, outcomes: Mapping[str, Outcome]) -> bool:
    """Whether a table of slides tells the same status of each as `outcomes`."""
    statuses = dict(zip(table["slide"].to_pylist(), table["status"].to_pylist(), strict=True))
    return statuses == {slide: outcome.status for slide, outcome in outcomes.items()}


def with_reasons(table: pa.Table, outcomes: Mapping[str, Outcome], missing: Mapping[str, str]) -> pa.Table:
    """A table of slides with the reasons of now: a slide may fail again for another one, or lack a further export."""
    slides = table["slide"].to_pylist()
    reasons = pa.array([outcomes[slide].reason for slide in slides], pa.string())
    table = table.set_column(table.schema.get_field_index("reason"), "reason", reasons)
    if not missing:
        return table
    lacking = pa.array([missing.get(slide) for slide in slides], pa.string())
    return table.set_column(table.schema.get_field_index("export_missing"), "export_missing", lacking)
