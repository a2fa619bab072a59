"""How the files between the passes of the shuffle grow, by counting at two sizes: no Ray, one call after another."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raysweep.patches.shuffle import divide as module
from raysweep.patches.shuffle.divide import divide
from raysweep.patches.shuffle.pieces import Piece
from raysweep.patches.shuffle.scratch import write_parts
from raysweep.patches.shuffle.spool import PIECE_SCHEMA, write_piece
from raysweep.patches.write import shard_edges
from raysweep.storage import Storage

ROWS, PICTURE = 10, 20_000  # patches in a shard, bytes of one
WAYS = 8


@pytest.fixture(autouse=True)
def _scale(monkeypatch):
    """Groups of two shards, as 512 MB are, and 8 where there are 16, so that small sets are divided twice."""
    monkeypatch.setattr(module, "_WAYS", WAYS)
    monkeypatch.setattr(module, "_PARTS", WAYS)
    monkeypatch.setattr(module, "_GROUP_BYTES", 2 * ROWS * PICTURE)
    monkeypatch.setattr(module, "_FRAGMENT_BYTES", 2 * ROWS * PICTURE)
    monkeypatch.setattr("os.fsync", lambda file: None)


def counted(folder: Path, shards: int, monkeypatch) -> dict[str, float]:
    """Divide so many shards; what it took."""
    spool, scratch = Storage.open(folder / "spool"), Storage.open(folder / "scratch")
    rng, pieces = np.random.default_rng(shards), []
    for number in range(shards // 4):
        keys = np.sort(rng.integers(0, 2**64, 4 * ROWS, np.uint64))
        rows = [{"slide": str(number), "x": x, "y": 0, "key": int(key), "image": bytes(PICTURE)}
                for x, key in enumerate(keys)]  # fmt: skip
        facts = write_piece(spool, pa.Table.from_pylist(rows, schema=PIECE_SCHEMA), f"{number}")
        pieces.append(Piece(f"{number}", facts.rows, facts.bytes))
    found = {"files": 0, "calls": 0, "peak": 0, "passes": 0, "driver": 0}
    ranges = module._ranges

    def held_by_the_driver(*args):
        made = ranges(*args)
        found["driver"] = max(found["driver"], sum(part.sizes.nbytes for part in made))
        return made

    def one_by_one(function, calls, workers, doing, **_):
        found["passes"] += 1
        for number, call in enumerate(calls):
            result = function(*call)
            found["calls"] += 1
            if number % 8 == 0:
                held = sum(file.stat().st_size for file in Path(scratch.root).rglob("*.arrows"))
                found["peak"] = max(found["peak"], held)
            yield result

    def noted(*args):
        sizes = write_parts(*args)
        found["files"] += any(sizes)
        return sizes

    monkeypatch.setattr(module, "_ranges", held_by_the_driver)
    monkeypatch.setattr(module, "in_parallel", one_by_one)
    monkeypatch.setattr(module, "write_parts", noted)
    edges = [*map(int, shard_edges(shards)), 2**64]
    made = divide(spool, pieces, edges, scratch, None)
    assert [bound for part in made for bound in part.bounds[:-1]] == list(range(shards))
    written = sum(file.stat().st_size for file in Path(scratch.root).rglob("*.arrows"))
    for part in made[:: len(made) // 3]:
        for index, shard in enumerate(part.bounds[:-1]):
            keys = part.part(index).rows()["key"].to_numpy()
            assert all((keys >= edges[shard]) & (keys.astype(object) < edges[shard + 1]))
    assert sum(part.part(p).rows().num_rows for part in made for p in range(len(part.bounds) - 1)) == shards * ROWS
    return {**found, "peak": found["peak"] / written}


def test_files_calls_and_what_the_driver_holds_grow_with_the_shards(tmp_path, monkeypatch):
    with monkeypatch.context() as few_patch, monkeypatch.context() as many_patch:
        few = counted(tmp_path / "few", 96, few_patch)
        many = counted(tmp_path / "many", 192, many_patch)
    assert few["passes"] == many["passes"] == 2
    assert 1.5 <= many["files"] / few["files"] <= 2.1
    assert many["files"] <= (WAYS / 2 + 1) * 192, "one for each way and two shards, and a second pass"
    assert 1.5 <= many["calls"] / few["calls"] <= 2.1
    assert 1.5 <= many["driver"] / few["driver"] <= 2.1
    assert max(few["peak"], many["peak"]) <= 1.1 + 2 / WAYS, (
        "2.13 with the spool, where there are 16 ways and larger pictures"
    )
