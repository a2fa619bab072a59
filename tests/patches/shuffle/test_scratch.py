"""Files of several ranges of keys."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from raysweep.patches.shuffle.scratch import Range, write_parts
from raysweep.patches.shuffle.spool import PIECE_SCHEMA
from raysweep.storage import Storage

KEYS = st.lists(st.integers(0, 2**64 - 1), max_size=30)


def rows_of(keys: list[int]) -> pa.Table:
    rows = [{"slide": "a", "x": x, "y": 0, "key": key, "image": b"%d" % key} for x, key in enumerate(sorted(keys))]
    return pa.Table.from_pylist(rows, schema=PIECE_SCHEMA)


@given(st.lists(KEYS, min_size=1, max_size=4), st.lists(st.integers(0, 2**64), min_size=2, max_size=6, unique=True))
def test_each_part_is_read_alone(tmp_path_factory, files, cuts):
    storage, cuts = Storage.open(tmp_path_factory.mktemp("scratch")), sorted(cuts)
    sizes = np.zeros((len(files), len(cuts) - 1), np.uint32)
    made = Range(storage, "of", range(len(cuts)), sizes)
    for number, keys in enumerate(files):
        sizes[number] = write_parts(storage, made.file(number), rows_of(keys), cuts)
    for part, (low, high) in enumerate(pairwise(cuts)):
        for some in (slice(None), slice(1, None)):
            expected = [row for keys in files[some] for row in rows_of(keys).to_pylist() if low <= row["key"] < high]
            assert made.part(part, some).rows().to_pylist() == expected
    inside = [any(cuts[0] <= key < cuts[-1] for key in keys) for keys in files]
    assert storage.names("of") == [f"{n:06d}.arrows" for n, some in enumerate(inside) if some]
    made.drop()
    assert not storage.exists("of")
