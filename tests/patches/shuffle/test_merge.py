"""Pieces to shards."""

from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st

from raysweep.errors import WorkError
from raysweep.patches.shuffle.merge import SlideFacts, merge
from raysweep.patches.shuffle.parallel import in_parallel
from raysweep.patches.shuffle.pieces import Piece
from raysweep.patches.shuffle.spool import PIECE_SCHEMA, piece_facts, read_piece, write_piece
from raysweep.randomness import stable_hash
from raysweep.storage import Storage

FACTS = {"a": SlideFacts("p", 1, "train", 0.5, 0.25), "b": SlideFacts(None, None, "test", 0.5, 0.5)}


def piece_rows(slide: str, start: int, n: int) -> pa.Table:
    rows = [
        {"slide": slide, "x": x, "y": 0, "tissue": 1.0, "key": stable_hash(slide, x), "image": b"%d" % x}
        for x in range(start, start + n)
    ]
    return pa.Table.from_pylist(rows, schema=PIECE_SCHEMA).sort_by("key")


@given(st.integers(1, 100), st.integers(0, 2**64), st.integers(0, 2**64))
def test_a_range_of_keys_is_read_out_of_a_piece(tmp_path_factory, n, one, other):
    storage = Storage.open(tmp_path_factory.mktemp("spool"))
    rows = piece_rows("a", 0, n)
    write_piece(storage, rows, "of", "piece.arrow")
    low, high = sorted((one, other))
    expected = [row for row in rows.to_pylist() if low <= row["key"] < high]
    assert read_piece(storage, "of/piece.arrow", low, high).to_pylist() == expected
    assert read_piece(storage, "of/piece.arrow").equals(rows)
    assert read_piece(storage, "of/piece.arrow", low, high, ["x", "label"]).column_names == ["x", "key", "label"]
    assert read_piece(storage, "of/piece.arrow", low, high, ["x"])["x"].to_pylist() == [row["x"] for row in expected]


def test_a_piece_without_patches(tmp_path):
    storage = Storage.open(tmp_path)
    facts = write_piece(storage, piece_rows("a", 0, 0), "piece.arrow", rejected={"blank": 4})
    assert (facts.rows, facts.rejected) == (0, {"blank": 4})
    assert piece_facts(storage, "piece.arrow") == facts
    assert read_piece(storage, "piece.arrow").equals(piece_rows("a", 0, 0))


@pytest.mark.parametrize("left", [0, 1, 8, 1000, -1])
def test_a_piece_that_a_power_cut_left_in_part_is_no_piece(tmp_path, left):
    storage = Storage.open(tmp_path)
    facts = write_piece(storage, piece_rows("a", 0, 100), "piece.arrow")
    assert piece_facts(storage, "piece.arrow") == facts
    file = tmp_path / "piece.arrow"
    file.write_bytes(file.read_bytes()[:left])
    assert piece_facts(storage, "piece.arrow") is None
    assert piece_facts(storage, "none.arrow") is None


@pytest.fixture
def spool(tmp_path) -> tuple[Storage, list[Piece]]:
    spool = Storage.open(tmp_path / "spool")
    pieces = []
    for name, slide, start in (("1", "a", 0), ("2", "a", 40), ("3", "b", 0)):
        facts = write_piece(spool, piece_rows(slide, start, 40), name)
        pieces.append(Piece(name, facts.rows, facts.bytes))
    return spool, pieces


def run(folder: Storage, spool: Storage, pieces: list[Piece], facts=None, workers=None) -> list[str]:
    shards = merge(folder, spool, pieces, facts or FACTS, classes=["n", "t"], workers=workers,
                   report=lambda shard: None)  # fmt: skip
    assert sum(shard.rows for shard in shards) == sum(piece.rows for piece in pieces)
    return [shard.name for shard in shards]


def rows_in(file: Path) -> int:
    """Patches in a file of the scratch folder."""
    rows = 0
    with pa.memory_map(file.as_posix()) as source:
        while source.tell() < source.size():
            rows += pa.ipc.open_stream(source).read_all().num_rows
    return rows


def kept(remove, path: str):
    """`Storage.remove` that leaves this one folder."""
    return lambda self, *parts: None if self.path(*parts) == path else remove(self, *parts)


@pytest.mark.usefixtures("ray_session")
class TestMerge:
    @pytest.fixture(autouse=True)
    def _small_shards(self, monkeypatch):
        monkeypatch.setattr("raysweep.patches.write.SHARD_PATCHES", 10)

    def test_rows_carry_what_their_slide_is(self, tmp_path, spool):
        folder = Storage.open(tmp_path / "set")
        names = run(folder, *spool)
        rows = [row for name in names for row in folder.read_table("shards", name).to_pylist()]
        assert len(names) == 12
        assert len(rows) == 120
        assert {(r["slide"], r["patient"], r["label"], r["split"], r["source_mpp"]) for r in rows} == {
            ("a", "p", 1, "train", 0.25),
            ("b", None, None, "test", 0.5),
        }
        assert {(r["mask"], r["mpp"]) for r in rows} == {(None, 0.5)}
        assert {r["image"]["path"]: r["image"]["bytes"] for r in rows}["a_53_0.jpg"] == b"53"

    def test_a_label_and_a_mask_of_its_own_go_before_the_slides(self, tmp_path):
        spool = Storage.open(tmp_path / "spool")
        rows = piece_rows("a", 0, 20).to_pylist()
        own = [{**row, "label": 0, "mask": b"png"} if row["x"] % 2 else row for row in rows]
        facts = write_piece(spool, pa.Table.from_pylist(own, schema=PIECE_SCHEMA), "1")
        folder = Storage.open(tmp_path / "set")
        names = run(folder, spool, [Piece("1", facts.rows, facts.bytes)])
        found = [row for name in names for row in folder.read_table("shards", name).to_pylist()]
        assert {(row["x"] % 2, row["label"], row["mask"]) for row in found} == {(0, 1, None), (1, 0, b"png")}

    def test_patches_with_an_edge_of_their_own_have_their_own_scale_and_file_name(self, tmp_path):
        spool = Storage.open(tmp_path / "spool")
        rows = [
            {**row, "x": 5, "left": 5, "right": 5 + row["x"], "mpp": row["x"] / 64} if row["x"] % 2 else row
            for row in piece_rows("a", 20, 20).to_pylist()
        ]
        facts = write_piece(spool, pa.Table.from_pylist(rows, schema=PIECE_SCHEMA), "1")
        folder = Storage.open(tmp_path / "set")
        names = run(folder, spool, [Piece("1", facts.rows, facts.bytes)])
        found = [row for name in names for row in folder.read_table("shards", name).to_pylist()]
        assert {row["image"]["path"]: row["mpp"] for row in found} == {
            **{f"a_{x}_0.jpg": 0.5 for x in range(20, 40, 2)},
            **{f"a_5_0_{edge}.jpg": edge / 64 for edge in range(21, 40, 2)},
        }

    def test_what_was_written_before_a_kill_is_kept(self, tmp_path, spool):
        folder = Storage.open(tmp_path / "set")
        names = run(folder, *spool)
        before = {name: folder.read_bytes("shards", name) for name in names}
        folder.remove("shards", names[3])
        folder.write_bytes(b"left by a kill", "merge", "0", "000000-000001", "junk")
        times = {name: Path(folder.path("shards", name)).stat().st_mtime_ns for name in folder.names("shards")}
        assert run(folder, *spool, workers=1) == names
        assert {name: folder.read_bytes("shards", name) for name in names} == before
        after = {name: Path(folder.path("shards", name)).stat().st_mtime_ns for name in times}
        assert after == times
        assert not folder.exists("merge")

    def test_ranges_are_one_pool_that_a_kill_does_not_begin_anew(self, tmp_path, spool, monkeypatch):
        """Every patch is in the scratch folder once at most, and what is read no more is not there."""
        monkeypatch.setattr("raysweep.patches.shuffle.merge._SHARDS_AT_ONCE", 1)
        for name, value in (("_WAYS", 2), ("_PARTS", 2), ("_GROUP_BYTES", 100)):
            monkeypatch.setattr(f"raysweep.patches.shuffle.divide.{name}", value)
        names = run(Storage.open(tmp_path / "plain"), *spool)
        folder, pools, held, doomed = Storage.open(tmp_path / "set"), [], [], [True]

        def counted(function, calls, workers, doing, **_):
            pools.append(0)
            for result in in_parallel(function, calls, workers, doing):
                pools[-1] += 1
                held.append(sum(map(rows_in, Path(folder.path("merge")).rglob("*.arrows"))))
                if doomed and len(pools) == 2 and pools[-1] == 5:
                    raise KeyboardInterrupt
                yield result

        for module in ("divide", "merge"):
            monkeypatch.setattr(f"raysweep.patches.shuffle.{module}.in_parallel", counted)
        with pytest.raises(KeyboardInterrupt):
            run(folder, *spool, workers=1)
        assert pools == [3, 5]
        notes = {p: p.stat().st_mtime_ns for p in Path(folder.path("merge", "notes")).iterdir()}
        assert len(notes) >= sum(pools), "what has been divided"
        doomed.clear()
        pools.clear()
        monkeypatch.setattr(Storage, "remove", kept(Storage.remove, folder.path("merge")))
        assert run(folder, *spool, workers=1) == names
        assert pools == [3, 12, 24, 12], "each pass one pool; 2 ranges of 6 shards, 4 of 3, 8 of one or two; shards"
        assert {p: p.stat().st_mtime_ns for p in notes} == notes, "is not divided again"
        assert 120 <= max(held) <= 120 + 60 + 20, "a pass, what is divided of it, and the task under way"
        plain = Storage.open(tmp_path / "plain")
        assert all(plain.read_bytes("shards", name) == folder.read_bytes("shards", name) for name in names)

    @pytest.mark.parametrize("left", [0, 3, 2000, -1])
    def test_a_shard_that_is_not_whole_is_written_anew(self, tmp_path, spool, left):
        folder = Storage.open(tmp_path / "set")
        names = run(folder, *spool)
        before = {name: folder.read_bytes("shards", name) for name in names}
        folder.write_bytes(before[names[3]][:left], "shards", names[3])
        assert run(folder, *spool) == names
        assert {name: folder.read_bytes("shards", name) for name in names} == before

    def test_another_plan_begins_anew(self, tmp_path, spool):
        folder = Storage.open(tmp_path / "set")
        storage, pieces = spool
        run(folder, storage, pieces[:1], {"a": FACTS["a"]})
        names = run(folder, storage, pieces)
        assert folder.names("shards") == names
        other = {**FACTS, "b": SlideFacts("q", 0, "val", 0.5, 0.5)}
        run(folder, storage, pieces, other)
        rows = folder.read_table("shards", names[0]).to_pylist()
        assert {row["split"] for row in rows if row["slide"] == "b"} == {"val"}

    def test_object_storage_gets_the_same_shards(self, tmp_path, spool):
        plain = Storage.open(tmp_path / "set")
        objects = Storage(pafs.PyFileSystem(pafs.FSSpecHandler(LocalFileSystem(auto_mkdir=True))), f"{tmp_path}/far")
        names = run(plain, *spool)
        assert run(objects, *spool) == names
        assert all(plain.read_bytes("shards", name) == objects.read_bytes("shards", name) for name in names)

    def test_shards_that_cannot_be_written_end_the_work(self, tmp_path, spool, monkeypatch):
        folder = Storage.open(tmp_path / "set")
        monkeypatch.setattr(Storage, "remove", lambda self, *parts: None)
        folder.write_bytes(b"a file where the folder should be", "shards")
        with pytest.raises(WorkError, match=r"^writing shards stopped: .*shards.* cannot be written"):
            run(folder, *spool)
