"""Reading a patch set by row groups."""

import pickle

import pyarrow as pa
import pytest

from raysweep.errors import RequestError, WorkError
from raysweep.patches import read
from raysweep.patches.codec import decode
from raysweep.patches.read import PatchSet, RowGroup
from raysweep.patches.write import INDEX, contents, read_shard, write_patch_set, write_shard
from raysweep.storage import MANIFEST, Artefact, Storage

from .rows import patch_rows

CONFIG = {"um": 4, "px": 8}


@pytest.fixture(scope="module")
def artefact(tmp_path_factory) -> Artefact:
    artefact = Artefact(Storage.open(tmp_path_factory.mktemp("patches")), {"what": "test"})
    write_patch_set(artefact, patch_rows(400), config=CONFIG, shards=2)
    return artefact


def test_what_it_says_of_itself(artefact):
    patches = PatchSet(artefact.folder)
    assert (patches.px, patches.mpp, patches.n_patches) == (8, 0.5, 400)
    assert patches.classes == ["normal", "tumour"]
    assert patches.sources == ["s0", "s1", "s2"]
    assert patches.fingerprint == artefact.fingerprint


def test_row_groups_cover_the_shards_in_order(artefact):
    patches = PatchSet(artefact.folder)
    shards = [artefact.folder.read_table("shards", name) for name in artefact.folder.names("shards")]
    assert sum(group.rows for group in patches.row_groups) == 400
    assert {group.rows for group in patches.row_groups[:1]} == {128}
    read = pa.concat_tables([patches.read(group, ["x", "key", "image"]) for group in patches.row_groups])
    assert read["key"].to_pylist() == [key for shard in shards for key in shard["key"].to_pylist()]
    assert read.column_names == ["x", "key", "image"]
    assert [patches.read(group, ["key"]).num_rows for group in patches.row_groups] == [
        g.rows for g in patches.row_groups
    ]


def test_groups_are_read_in_any_order_with_the_columns_asked_for(artefact):
    patches = PatchSet(artefact.folder)
    last, first = patches.row_groups[-1], patches.row_groups[0]
    assert last.shard != first.shard
    for group in (last, first, last):
        table = patches.read(group, ["image", "label"])
        assert set(table.column_names) == {"image", "label"}
        assert decode(table["image"][0].as_py()["bytes"]).shape == (8, 8, 3)
        assert table.num_rows == group.rows
    bare = patches.read(first, ["image.bytes", "key"])
    assert bare.column_names == ["image", "key"]
    assert bare.schema.field("image").type == pa.struct([("bytes", pa.binary())])


def test_it_travels_to_workers(artefact):
    patches = PatchSet(artefact.folder)
    group = patches.row_groups[0]
    there = patches.read(group, ["key"])
    copy = pickle.loads(pickle.dumps(patches))
    assert copy.read(group, ["key"]).equals(there)
    assert copy.row_groups == patches.row_groups


def test_it_opens_each_shard_once(artefact, monkeypatch):
    patches = PatchSet(artefact.folder)
    opened = []
    real = Storage.path
    monkeypatch.setattr(Storage, "path", lambda self, *parts: opened.append(parts) or real(self, *parts))
    for group in (*patches.row_groups, *patches.row_groups):
        patches.read(group, ["key"])
    assert opened == [("shards", "00000-of-00002.parquet"), ("shards", "00001-of-00002.parquet")]


def test_an_incomplete_folder_is_refused(artefact, tmp_path):
    with pytest.raises(RequestError, match=r"patch set .*: not complete"):
        PatchSet(Storage.open(tmp_path))
    half = Storage.open(tmp_path)
    half.write_bytes(artefact.folder.read_bytes("shards.json"), "shards.json")
    with pytest.raises(RequestError, match="not complete"):
        PatchSet(half)


def test_a_short_last_group(tmp_path):
    artefact = Artefact(Storage.open(tmp_path), {"what": "short"})
    write_patch_set(artefact, patch_rows(129), config=CONFIG)
    assert PatchSet(artefact.folder).row_groups == [
        RowGroup("00000-of-00001.parquet", 0, 128, 128, 128),
        RowGroup("00000-of-00001.parquet", 1, 1, 1, 1),
    ]


def test_usable_and_labelled_rows_are_counted_when_shards_are_written(tmp_path, monkeypatch):
    """Those of training, or of no split; the counts of a set without them are read, and its contents are the same."""
    rows = patch_rows(300)
    split = pa.array([("train", None, "val", "test")[i % 4] for i in range(300)], pa.string())
    label = pa.array([i % 3 or None for i in range(300)], pa.int32())
    for name, column in (("split", split), ("label", label)):
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    rows = rows.cast(patch_rows(0).schema)
    artefact = Artefact(Storage.open(tmp_path), {"what": "counts"})
    write_patch_set(artefact, rows, config=CONFIG, shards=2)
    patches = PatchSet(artefact.folder)
    for group in patches.row_groups:
        found = patches.read(group, ["split", "label"]).to_pylist()
        usable = [row for row in found if row["split"] in (None, "train")]
        assert group.usable == len(usable)
        assert group.labelled == sum(row["label"] is not None for row in usable)
    assert sum(group.usable for group in patches.row_groups) == 150
    assert 0 < sum(group.labelled for group in patches.row_groups) < 150
    assert [read_shard(artefact.folder, i, 2) for i in range(2)] == [
        write_shard(Storage.open(tmp_path / "again"), i, 2, artefact.folder.read_table("shards", shard))
        for i, shard in enumerate(artefact.folder.names("shards"))
    ]
    before = contents(artefact.folder)
    index = artefact.folder.read_json("shards.json")
    for shard in index["shards"]:
        del shard["usable"], shard["labelled"]
    artefact.folder.write_json(index, "shards.json")
    assert PatchSet(artefact.folder).row_groups == patches.row_groups
    assert contents(artefact.folder) == before


def test_few_shards_stay_open_and_few_footers_are_kept(artefact, monkeypatch):
    monkeypatch.setattr(read, "_OPEN_SHARDS", 1)
    patches = PatchSet(artefact.folder)
    first, last = patches.row_groups[0], patches.row_groups[-1]
    expected = [PatchSet(artefact.folder).read(group, ["key"]) for group in (first, last)]
    parsed = []
    real = read.pq.ParquetFile
    monkeypatch.setattr(
        read.pq,
        "ParquetFile",
        lambda file, metadata=None: parsed.append(metadata is None) or real(file, metadata=metadata),
    )
    for _ in range(3):
        assert [patches.read(group, ["key"]) for group in (first, last)] == expected
    assert parsed == [True, True, False, False, False, False], "each footer is parsed once"
    monkeypatch.setattr(read, "_FOOTER_GROUPS", 1)
    parsed.clear()
    patches = PatchSet(artefact.folder)
    for _ in range(2):
        assert [patches.read(group, ["key"]) for group in (first, last)] == expected
    assert parsed == [True] * 4
    patches.close()
    assert patches.read(first, ["key"]).equals(expected[0])


def test_a_row_group_that_claims_more_rows_than_ours_is_not_read(artefact, tmp_path):
    """A thousand equal pictures are one in a file, and a thousand in memory."""
    folder = Storage.open(tmp_path / "set")
    for name in (MANIFEST, INDEX):
        folder.write_bytes(artefact.folder.read_bytes(name), name)
    (shard, *_) = artefact.folder.names("shards")
    row = artefact.folder.read_table("shards", shard).slice(0, 1)
    folder.write_table(pa.concat_tables([row] * 1000), "shards", shard)
    with pytest.raises(WorkError, match=r"row group 0 claims 1,000 rows, not 128; make the set anew"):
        PatchSet(folder).read(RowGroup(shard, 0, 128, 128, 0), ["image.bytes"])
