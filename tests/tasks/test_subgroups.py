"""Subgroups of images, from the tables of layouts to the file that reports read."""

import pytest

from raysweep.errors import RequestError
from raysweep.storage import Storage
from raysweep.tasks.subgroups import read_subgroups, save_subgroups
from raysweep.tasks.task import index_task

CSV = {"type": "csv", "file": "labels.csv", "label": "label", "unit": "patient"}


@pytest.fixture
def data(tmp_path, write_image):
    rows = ["image,label,patient,hospital,device"]
    for i in range(6):
        write_image(tmp_path / f"toy/{i}.png", i)
        rows.append(f"{i}.png,{'ab'[i % 2]},p{i},{'AAB'[i % 3]},{'x' if i < 4 else ''}")
    (tmp_path / "toy/labels.csv").write_text("\n".join(rows))
    return tmp_path


def read(folder):
    return {kind: {name: ids.to_pylist() for name, ids in own.items()} for kind, own in read_subgroups(folder).items()}


def test_columns_become_subgroups_and_change_no_fingerprint(data, make_card):
    plain = index_task(make_card(), data)
    task = index_task(make_card(layout=CSV | {"groups": {"site": "hospital", "scanner": "device"}}), data)
    assert task.inputs() == plain.inputs()
    folder = Storage.open(data / "index")
    save_subgroups(task, folder)
    assert read(folder) == {
        "site": {"A": ["0.png", "1.png", "3.png", "4.png"], "B": ["2.png", "5.png"]},
        "scanner": {"not given": ["4.png", "5.png"], "x": ["0.png", "1.png", "2.png", "3.png"]},
    }
    written = (data / "index/subgroups.parquet").stat().st_mtime_ns
    save_subgroups(task, folder)
    assert (data / "index/subgroups.parquet").stat().st_mtime_ns == written, "the same again is not written"
    save_subgroups(plain, folder)
    assert read(folder) == {}
    save_subgroups(plain, folder)


def test_a_saved_index_is_the_same_with_and_without(data, make_card):
    for name, layout in (("plain", CSV), ("grouped", CSV | {"groups": {"site": "hospital"}})):
        index_task(make_card(layout=layout), data).save(Storage.open(data / name))
    assert (data / "plain/index.parquet").read_bytes() == (data / "grouped/index.parquet").read_bytes()


def test_a_column_that_is_not_there_is_named(data, make_card):
    with pytest.raises(RequestError, match=r"labels.csv has no column 'hospitals' \(nearest: hospital\)"):
        index_task(make_card(layout=CSV | {"groups": {"site": "hospitals"}}), data)
