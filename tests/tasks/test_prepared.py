"""What is kept of a prepared set, and when it is used."""

import os

import pytest

from raysweep.tasks import task as module
from raysweep.tasks.prepare import prepare
from raysweep.tasks.prepared import find_prepared, last_prepared
from raysweep.tasks.task import index_task


@pytest.fixture
def card(make_card, write_image, tmp_path, monkeypatch):
    monkeypatch.setenv("RAYSWEEP_HOME", str(tmp_path / "home"))
    for label in "ab":
        for number in range(8):
            write_image(tmp_path / "data/toy" / label / f"{number}.png", 10 * number)
    return make_card(layout={"type": "image_folder"}, unit="image")


def test_what_was_prepared_is_not_read_again(card, tmp_path, monkeypatch):
    assert find_prepared(card, tmp_path / "data") is None
    assert last_prepared(card) is None
    prepare(card, tmp_path / "data", accept=False)
    assert last_prepared(card) == tmp_path / "data"
    known = find_prepared(card, tmp_path / "data")
    changed = tmp_path / "data/toy/a/3.png"
    os.utime(changed, (1, 1))
    read = []
    real = module.examine

    def spy(sample, *arguments, **keys):
        read.append(sample.id)
        return real(sample, *arguments, **keys)

    monkeypatch.setattr(module, "examine", spy)
    task = index_task(card, tmp_path / "data", known=known)
    assert read == ["a/3.png"]
    assert task.inputs() == known.inputs()


def test_an_index_that_cannot_be_read_is_made_anew(card, tmp_path):
    prepare(card, tmp_path / "data", accept=False)
    for path in (tmp_path / "home").rglob("task.json"):
        path.write_text("{}")
    assert find_prepared(card, tmp_path / "data") is None
    assert prepare(card, tmp_path / "data", accept=False).n_images == 16


def test_a_set_that_has_moved_is_not_found_where_it_was(card, tmp_path):
    prepare(card, tmp_path / "data", accept=False)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert last_prepared(card) is None
    assert find_prepared(card, tmp_path / "elsewhere") is None
