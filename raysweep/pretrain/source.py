"""What a pretraining draws from, and the list of all that a checkpoint has seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from raysweep.patches.outcomes import SLIDES
from raysweep.storage import MANIFEST, Storage
from raysweep.tasks.source import train_rows
from raysweep.tasks.task import Task

SEEN = "sources.parquet"  # beside a checkpoint's weights
_SCHEMA = pa.schema([
    ("source", pa.string()), ("id", pa.string()), ("unit", pa.string()), ("hash", pa.string()), ("labels", pa.bool_()),
])  # fmt: skip


@dataclass(frozen=True)
class SourceInput:
    """One source of a pretraining; it travels to workers, which need no file of the set itself.

    name: of the patch set or labelled set in the study. folder: of its patch set. weight: how often it is drawn beside
    others; None: the method's own rule. task: of a labelled set, the folder of its index; fold: whose train split may
    be seen (None: see `train_rows`).
    """

    name: str
    folder: Storage
    weight: float | None = None
    task: Storage | None = None
    fold: int | None = None

    def allowed(self, seed: int) -> set[str] | None:
        """The values of `slide` that may be seen of a labelled set; None for a patch set, whose rows tell by `split`.

        `seed` is the study's. Raises WorkError when the index of the set is not there.
        """
        if self.task is None:
            return None
        return train_rows(Task.load(self.task, None), self.fold, seed)


def write_sources(
    folder: Storage, sources: Sequence[SourceInput], *, labels: bool, parent: Storage | None, split_seed: int
) -> None:
    """Write `sources.parquet` into the folder of a checkpoint: everything that its training may have seen.

    A row for each slide of a patch set's training split and for each image of a labelled set that was allowed: `source`
    (its name; of one named by an absolute path, the last part), `id`, `unit` (null: unknown), `hash` (size and hash of
    the file, where the patch set tells them) and `labels`, whether its labels taught (the argument; null in lists of
    earlier versions, which did not tell). The rows of the checkpoint in the folder `parent`, from which it starts, are
    among them; equal rows are there once. Sorted by source and id. `split_seed` is the study's.
    """
    parts = [seen_rows(source, labels, split_seed) for source in sources]
    if parent is not None and parent.exists(SEEN):
        parts.append(read_sources(parent))
    rows = pa.concat_tables([_SCHEMA.empty_table(), *parts])
    rows = rows.group_by(_SCHEMA.names).aggregate([]).select(_SCHEMA.names)
    folder.write_table(rows.sort_by([(name, "ascending") for name in _SCHEMA.names]), SEEN)


def read_sources(folder: Storage) -> pa.Table:
    """The `sources.parquet` of a checkpoint."""
    rows = folder.read_table(SEEN)
    if "labels" not in rows.column_names:
        rows = rows.append_column("labels", pa.nulls(len(rows), pa.bool_()))
    return rows.select(_SCHEMA.names).cast(_SCHEMA)


def seen_rows(source: SourceInput, labels: bool, seed: int) -> pa.Table:
    """The rows that a source whose patch set is there gives to `sources.parquet`; `seed` is the study's."""
    allowed = source.allowed(seed)
    name = source.name.rpartition("/")[2] if source.name.startswith("/") else source.name
    hashes = _hashes_of_slides(source.folder)
    rows = [
        {"source": name, "id": slide["slide"], "unit": slide.get("patient"),
         "hash": slide.get("hash") or hashes.get(slide["slide"]), "labels": labels}
        for slide in source.folder.read_table(SLIDES).to_pylist()
        if slide["status"] == "done"
        and (slide.get("split") in (None, "train") if allowed is None else slide["slide"] in allowed)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _hashes_of_slides(folder: Storage) -> dict[str, str]:
    """Of a tiled patch set, by slide; written as those of labelled sets, so that the two can be compared."""
    slides = folder.read_json(MANIFEST)["inputs"].get("slides", []) if folder.exists(MANIFEST) else []
    files = {slide["name"]: slide["identity"] for slide in slides if "identity" in slide}
    return {name: f"{file['size']}-{file['hash']}" for name, file in files.items()}
