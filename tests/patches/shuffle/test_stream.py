"""Pipelines of Ray Data: their rows, how work ends that fails, and what is told meanwhile."""

import logging
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pytest
import ray
from ray.data._internal.execution.operators.map_operator import MapOperator

from raysweep.errors import WorkError
from raysweep.patches.shuffle.stream import stream


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
    told: list[str] = []
    rows = stream(partial(_pipeline, twice), workers=1, doing="counting", tell=told.append)
    assert sorted(row["n"] for row in rows) == [0, 2, 4]
    with pytest.raises(WorkError) as caught:
        list(stream(partial(_pipeline, refuse), workers=None, doing="counting", tell=told.append))
    assert str(caught.value) == "counting stopped: the disk is full"
    assert told == [], "what is raised is not told twice"


@pytest.mark.usefixtures("ray_session")
def test_what_ray_data_warns_of_is_told(monkeypatch, capfd) -> None:
    monkeypatch.setattr(MapOperator, "MAP_UDF_WARN_SIZE_THRESHOLD", 0)
    told: list[str] = []
    before = logging.getLogger("ray.data").level
    rows = stream(partial(_pipeline, twice), workers=1, doing="counting", tell=told.append)
    assert sorted(row["n"] for row in rows) == [0, 2, 4]
    assert logging.getLogger("ray.data").level == before
    [line] = told
    assert line.startswith("Ray Data: The UDF of operator MapBatches(twice) is too large (size = ")
    assert capfd.readouterr().err == ""
