"""Pipelines of Ray Data: their rows, and how work ends that fails or kills."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
import ray

from raysweep.errors import WorkError
from raysweep.patches.shuffle.stream import attempt, stream
from raysweep.storage import Storage


def twice(batch: pa.Table) -> pa.Table:
    return pa.table({"n": [2 * n for n in batch["n"].to_pylist()]})


def refuse(batch: pa.Table) -> Iterator[pa.Table]:
    yield batch
    raise WorkError("the disk is full")


def _pipeline(function) -> ray.data.Dataset:
    numbers = ray.data.from_arrow([pa.table({"n": [n]}) for n in range(3)])
    return numbers.map_batches(function, batch_size=None, batch_format="pyarrow")


@pytest.mark.usefixtures("ray_session")
def test_rows_come_and_an_error_is_one_sentence() -> None:
    rows = stream(partial(_pipeline, twice), workers=1, doing="counting")
    assert sorted(row["n"] for row in rows) == [0, 2, 4]
    with pytest.raises(WorkError) as caught:
        list(stream(partial(_pipeline, refuse), workers=None, doing="counting"))
    assert str(caught.value) == "counting stopped: the disk is full"


def test_what_kills_its_process_three_times_is_not_tried_again(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    for _ in range(2):
        with attempt(folder, "run", "a", "image") as reason:
            assert reason is None
    assert not list(tmp_path.iterdir()), "an attempt that ends, with an error or without, does not count"
    dying = [attempt(folder, "run", "a", "image") for _ in range(3)]  # processes that do not come to the end
    assert [one.__enter__() for one in dying] == [None] * 3
    with attempt(folder, "run", "a", "image") as reason:
        assert reason == "the process that read this image died 3 times"
    with attempt(folder, "run", "b", "image") as reason:
        assert reason is None
