"""Subgroups of a set's images, such as sites, scanners and stains: what results are also shown by."""

from collections.abc import Mapping

import pyarrow as pa

from raysweep.storage import Storage
from raysweep.tasks.task import Task

_FILE = "subgroups.parquet"
_SCHEMA = pa.schema([("sample", pa.string()), ("kind", pa.string()), ("subgroup", pa.string())])


def save_subgroups(task: Task, folder: Storage) -> None:
    """Keep the subgroups of a task's images beside its index, or remove what an earlier card gave.

    They change nothing that is trained or tested, so they are no part of any fingerprint: a card may name them long
    after its finals are done, and the next report has them.
    """
    rows = [{"sample": s.id, "kind": kind, "subgroup": value} for s in task.samples for kind, value in s.groups]
    if not rows:
        folder.remove(_FILE)
        return
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    if not (folder.exists(_FILE) and folder.read_table(_FILE).equals(table)):
        folder.write_table(table, _FILE)


def read_subgroups(folder: Storage) -> Mapping[str, Mapping[str, pa.Array]]:
    """By kind (`site`) and subgroup (`A`) the ids of its images; nothing where a card names none.

    Kinds are in the card's order, subgroups sorted. Raises OSError or an Arrow error for a damaged file.
    """
    if not folder.exists(_FILE):
        return {}
    found: dict[str, dict[str, list[str]]] = {}
    for row in folder.read_table(_FILE).to_pylist():
        found.setdefault(row["kind"], {}).setdefault(row["subgroup"], []).append(row["sample"])
    return {kind: {name: pa.array(own[name], pa.string()) for name in sorted(own)} for kind, own in found.items()}
