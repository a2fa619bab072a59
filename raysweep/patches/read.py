"""A complete patch set, read one row group at a time."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysweep.errors import RequestError
from raysweep.patches.outcomes import read_outcomes
from raysweep.patches.write import INDEX, ROW_GROUP
from raysweep.storage import MANIFEST, Storage


@dataclass(frozen=True)
class RowGroup:
    """Rows that are read together: number `index` of a shard."""

    shard: str
    index: int
    rows: int


class PatchSet:
    """What a folder of shards holds. Opening it reads two small files; `read` opens one shard at a time."""

    def __init__(self, folder: Storage) -> None:
        """Raises RequestError when the folder holds no complete patch set."""
        if not (folder.exists(MANIFEST) and folder.exists(INDEX)):
            raise RequestError(f"patch set {folder.root}: not complete, run the study's tiling first")
        self.folder = folder
        self._manifest: dict[str, Any] = folder.read_json(MANIFEST)
        index = folder.read_json(INDEX)
        self.classes: list[str] = index["classes"]
        self.row_groups: list[RowGroup] = [
            RowGroup(shard["name"], number, min(ROW_GROUP, shard["rows"] - start))
            for shard in index["shards"]
            for number, start in enumerate(range(0, shard["rows"], ROW_GROUP))
        ]
        self.n_patches: int = sum(shard["rows"] for shard in index["shards"])
        self._open: tuple[str, pq.ParquetFile] | None = None

    @property
    def fingerprint(self) -> str:
        return self._manifest["fingerprint"]

    @property
    def px(self) -> int:
        """Edge of a patch, pixels."""
        return int(self._manifest["config"]["px"])

    @property
    def mpp(self) -> float:
        """um per pixel of the stored patches."""
        return float(self._manifest["config"]["um"]) / self.px

    @cached_property
    def sources(self) -> list[str]:
        """Sorted names of the slides that gave patches."""
        return sorted(slide.slide for slide in read_outcomes(self.folder) if slide.status == "done")

    def read(self, group: RowGroup, columns: list[str]) -> pa.Table:
        """The named columns of a row group, in that order; rows in file order.

        `image.bytes` reads the pictures without their names, as a column `image`.
        """
        if self._open is None or self._open[0] != group.shard:
            self.close()
            file = self.folder.fs.open_input_file(self.folder.path("shards", group.shard))
            self._open = (group.shard, pq.ParquetFile(file))
        rows = self._open[1].read_row_group(group.index, columns=columns)
        return rows.select(list(dict.fromkeys(name.split(".")[0] for name in columns)))

    def close(self) -> None:
        """Close the shard that is open, if any."""
        if self._open is not None:
            self._open[1].close(force=True)
            self._open = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}
