"""Small pictures of tested images, as they lie beside a task's index, and the cells whose predictions are shown."""

import base64
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from raysweep.report.cells import CellRef
from raysweep.storage import Storage
from raysweep.tasks.thumbnails import thumbnails_file


def read_thumbnails(folder: Storage, seed: int) -> dict[str, dict[str, Any]]:
    """Rows (sample, unit, height, width, image, mask) by sample; nothing where there are none.

    folder: the task's. seed: the study's, by which it was drawn who is shown.
    """
    try:
        return {row["sample"]: row for row in folder.read_table(thumbnails_file(seed)).to_pylist()}
    except (OSError, pa.ArrowException):
        return {}


def largest(cells: Sequence[CellRef], kind: str, protocol: str) -> dict[str, list[CellRef]]:
    """Of each task of a kind its cells at its largest fraction, under a protocol or, where the task was not run under
    it, its first."""
    tasks: dict[str, list[CellRef]] = {}
    for cell in cells:
        if cell.kind == kind and not cell.tested_on:
            tasks.setdefault(cell.task, []).append(cell)
    out = {}
    for task, own in tasks.items():
        shown = [cell for cell in own if cell.protocol == protocol] or [c for c in own if c.protocol == own[0].protocol]
        most = max(cell.fraction for cell in shown)
        out[task] = [cell for cell in shown if cell.fraction == most]
    return out


def jpeg_address(data: bytes) -> str:
    """A data: address of a JPEG."""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
