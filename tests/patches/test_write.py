"""Shards: their order, their row groups, and the same bytes whoever writes them."""

import io
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.patches.schema import patch_schema
from raysweep.patches.write import SHARD_BYTES, SHARD_PATCHES, shard_count, shard_edges, write_patch_set, write_shard
from raysweep.storage import Artefact, Storage

from .rows import patch_rows

CONFIG = {"um": 4, "px": 8}


def shard_bytes(tmp_path, rows: pa.Table) -> bytes:
    folder = Storage.open(tmp_path)
    return folder.read_bytes("shards", write_shard(folder, 0, 1, rows).name)


@given(st.integers(1, 10_000), st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_edges_are_the_leading_part_of_the_key(count, key):
    owner = int(np.searchsorted(shard_edges(count), np.uint64(key), side="right")) - 1
    assert owner == key * count >> 64


@pytest.mark.parametrize(
    ("patches", "size", "count"),
    [(0, 0, 1), (1, 10, 1), (SHARD_PATCHES, 0, 1), (SHARD_PATCHES + 1, 0, 2), (9, SHARD_BYTES + 1, 2),
     (10**8, 10**13, 39063)],
)  # fmt: skip
def test_shard_count(patches, size, count):
    assert shard_count(patches, size) == count


def test_rows_are_in_the_order_of_their_keys_in_small_groups(tmp_path):
    folder = Storage.open(tmp_path)
    rows = patch_rows(300)
    shard = write_shard(folder, 2, 5, rows)
    assert (shard.name, shard.rows, shard.bytes) == ("00002-of-00005.parquet", 300, folder.size("shards", shard.name))
    file = pq.ParquetFile(io.BytesIO(folder.read_bytes("shards", shard.name)))
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [128, 128, 44]
    table = file.read()
    assert table.schema.equals(patch_schema(["normal", "tumour"]), check_metadata=True)
    assert table.to_pylist() == sorted(rows.to_pylist(), key=lambda row: row["key"])


def test_equal_keys_are_ordered_by_slide_and_place(tmp_path):
    rows = patch_rows(12)
    rows = rows.set_column(
        rows.schema.get_field_index("key"), rows.schema.field("key"), [pa.array([7] * 12, pa.uint64())]
    )
    rows = rows.take(random.Random(0).sample(range(12), 12))
    found = pq.read_table(io.BytesIO(shard_bytes(tmp_path, rows))).to_pylist()
    places = [(row["slide"], row["x"], row["y"]) for row in found]
    assert places == sorted(places)


@given(st.randoms(use_true_random=False), st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_bytes_do_not_depend_on_who_made_the_rows(tmp_path_factory, random, pieces):
    """Another order of rows, other chunks and so other dictionaries, plain strings instead of dictionaries."""
    rows = patch_rows(60)
    expected = shard_bytes(tmp_path_factory.mktemp("a"), rows)
    mixed = rows.take(random.sample(range(60), 60))
    cuts = sorted(random.sample(range(1, 60), pieces))
    parts = [mixed.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, 60], strict=True)]
    parts = [pa.Table.from_pylist(part.to_pylist(), schema=rows.schema) for part in parts]
    mixed = pa.concat_tables(parts)
    assert shard_bytes(tmp_path_factory.mktemp("b"), mixed) == expected
    plain = mixed.set_column(1, "slide", mixed["slide"].cast(pa.string())).replace_schema_metadata(rows.schema.metadata)
    assert shard_bytes(tmp_path_factory.mktemp("c"), plain) == expected


def test_pictures_are_not_compressed_again(tmp_path):
    file = pq.ParquetFile(io.BytesIO(shard_bytes(tmp_path, patch_rows(20))))
    group = file.metadata.row_group(0)
    kinds = {group.column(i).path_in_schema: group.column(i).compression for i in range(group.num_columns)}
    assert kinds["image.bytes"] == "UNCOMPRESSED"
    assert kinds["key"] == kinds["mask"] == "ZSTD"


def test_an_empty_shard_is_a_shard(tmp_path):
    folder = Storage.open(tmp_path)
    shard = write_shard(folder, 0, 2, patch_rows(3).slice(0, 0))
    assert shard.rows == 0
    assert folder.read_table("shards", shard.name).num_rows == 0


def test_a_patch_set_of_rows_in_memory(tmp_path):
    artefact = Artefact(Storage.open(tmp_path), {"what": "test"})
    rows = patch_rows(50)
    write_patch_set(artefact, rows, config=CONFIG, shards=3)
    assert artefact.done()
    names = artefact.folder.names("shards")
    assert names == [f"0000{i}-of-00003.parquet" for i in range(3)]
    found = [row for name in names for row in artefact.folder.read_table("shards", name).to_pylist()]
    assert found == sorted(rows.to_pylist(), key=lambda row: row["key"])
    slides = artefact.folder.read_table("slides.parquet").to_pylist()
    assert [(row["slide"], row["status"], row["n_patches"]) for row in slides] == [
        ("s0", "done", 17),
        ("s1", "done", 17),
        ("s2", "done", 16),
    ]
    assert artefact.manifest()["counts"]["patches"] == 50
