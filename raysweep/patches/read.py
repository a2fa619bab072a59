"""A complete patch set, read one row group at a time."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysweep.errors import RequestError, WorkError
from raysweep.json_file import mapping
from raysweep.patches.outcomes import read_outcomes
from raysweep.patches.write import INDEX, ROW_GROUP, count_usable
from raysweep.storage import MANIFEST, Storage

_OPEN_SHARDS = 32
_FOOTER_GROUPS = 2**13  # row groups whose places in their shards are remembered: 11 kB each, 90 MB in all


@dataclass(frozen=True)
class RowGroup:
    """Rows that are read together: number `index` of a shard.

    usable: those that training may use (their split is `train` or null). labelled: those of them that have a label.
    """

    shard: str
    index: int
    rows: int
    usable: int
    labelled: int


class PatchSet:
    """What a folder of shards holds. Opening it reads two small files; `read` keeps a few shards open.

    It may be pickled, and then has no shard open. Not for several threads at once.
    """

    def __init__(self, folder: Storage) -> None:
        """Raises RequestError when the folder holds no complete patch set."""
        if not (folder.exists(MANIFEST) and folder.exists(INDEX)):
            raise RequestError(f"patch set {folder.root}: not complete, run the study's tiling first")
        self.folder = folder
        self._manifest: dict[str, Any] = folder.read_json(MANIFEST)
        index = mapping(folder.read_json(INDEX), folder.path(INDEX), "shards")
        self.classes: list[str] = index["classes"]
        self._shards: list[dict[str, Any]] = index["shards"]
        self.n_patches: int = sum(shard["rows"] for shard in self._shards)
        self._open: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        self._footers: OrderedDict[str, pq.FileMetaData] = OrderedDict()
        self._footer_groups = 0  # row groups in `_footers`

    @cached_property
    def row_groups(self) -> list[RowGroup]:
        """All of them, in the order of the shards. Of a set that was written before rows were counted, its columns
        `split` and `label` are read for it."""
        return [group for shard in self._shards for group in self._groups(shard)]

    def _groups(self, shard: dict[str, Any]) -> Iterator[RowGroup]:
        if "usable" in shard:
            usable, labelled = ([int(n) for n in shard[key].split()] for key in ("usable", "labelled"))
        else:
            table = self.folder.read_table("shards", shard["name"], columns=["split", "label"])
            usable, labelled = map(list, count_usable(table))
        for number, start in enumerate(range(0, shard["rows"], ROW_GROUP)):
            rows = min(ROW_GROUP, shard["rows"] - start)
            yield RowGroup(shard["name"], number, rows, usable[number], labelled[number])

    @property
    def fingerprint(self) -> str:
        return self._manifest["fingerprint"]

    @property
    def px(self) -> int:
        """Edge of a patch, pixels."""
        return int(self._manifest["config"]["px"])

    @property
    def mpp(self) -> float | None:
        """um per pixel of the stored patches; None where it is unknown, or not the same for all."""
        um = self._manifest["config"]["um"]
        return None if um is None else float(um) / self.px

    @cached_property
    def sources(self) -> list[str]:
        """Sorted names of the slides that gave patches."""
        return sorted(slide.slide for slide in read_outcomes(self.folder) if slide.status == "done")

    def read(self, group: RowGroup, columns: list[str]) -> pa.Table:
        """The named columns of a row group, in that order; rows in file order.

        `image.bytes` reads the pictures without their names, as a column `image`. Raises WorkError for a row group that
        is larger than any of ours: equal rows take no space in a file, and all of it in memory.
        """
        file = self._file(group.shard)
        n = file.metadata.row_group(group.index).num_rows
        if n > ROW_GROUP:
            where = self.folder.path("shards", group.shard)
            raise WorkError(f"{where}: row group {group.index} claims {n:,} rows, not {ROW_GROUP}; make the set anew")
        rows = file.read_row_group(group.index, columns=columns)
        return rows.select(list(dict.fromkeys(name.split(".")[0] for name in columns)))

    def _file(self, shard: str) -> pq.ParquetFile:
        """An open shard. Training goes from shard to shard: to open one and to parse its footer each time would take
        longer than to read the row group."""
        if shard not in self._open:
            footer = self._footers.get(shard)
            file = pq.ParquetFile(self.folder.open_file("shards", shard), metadata=footer)
            self._open[shard] = file
            if footer is None:
                self._footers[shard] = file.metadata
                self._footer_groups += file.metadata.num_row_groups
            while len(self._open) > _OPEN_SHARDS:
                self._open.popitem(last=False)[1].close(force=True)
            while self._footer_groups > _FOOTER_GROUPS and len(self._footers) > 1:
                self._footer_groups -= self._footers.popitem(last=False)[1].num_row_groups
        self._open.move_to_end(shard)
        with suppress(KeyError):
            self._footers.move_to_end(shard)
        return self._open[shard]

    def close(self) -> None:
        """Close the shards that are open."""
        while self._open:
            self._open.popitem()[1].close(force=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict(), "_footers": OrderedDict(), "_footer_groups": 0}
