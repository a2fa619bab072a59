"""What is remembered of the files of labelled sets, and where."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysweep.storage import Artefact, Storage
from raysweep.study.tasks import save_index
from raysweep.tasks import reader
from raysweep.tasks.card import Card
from raysweep.tasks.indexes import indexed_task, last_prepared
from raysweep.tasks.prepare import prepare
from raysweep.tasks.task import Task, index_task


def _card(**keys: object) -> Card:
    plain = {
        "name": "toy", "kind": "classification", "classes": ["a", "b"], "source": "made by a test",
        "licence": {"name": "CC0"}, "root": "toy", "layout": {"type": "image_folder"}, "unit": "image",
        "metrics": ["accuracy"],
    }  # fmt: skip
    return Card.model_validate(plain | keys)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYSWEEP_HOME", str(tmp_path / "home"))
    for label in "ab":
        (tmp_path / "data/toy" / label).mkdir(parents=True)
        for number in range(4):
            _write(tmp_path / "data/toy" / label / f"{number}.png", number)
    return tmp_path / "data"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that are decoded from now on."""
    names: list[str] = []
    load = reader.load_image

    def spy(path: Path) -> Image.Image:
        names.append(path.name)
        return load(path)

    monkeypatch.setattr(reader, "load_image", spy)
    return names


def _write(path: Path, value: int, side: int = 8) -> None:
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(path)


def _indexed(data: Path, card: Card | None = None) -> Task:
    return indexed_task(card or _card(), data, Storage.open(data.parent / "study/tasks/toy"))


def test_a_second_look_decodes_nothing_and_finds_the_same(data: Path, opened: list[str]) -> None:
    first = _indexed(data)
    assert len(opened) == 8
    opened.clear()
    assert _indexed(data) == first
    assert _indexed(data, _card(splits={"type": "folds"}, metrics=["auroc"])).examined == first.examined
    assert not opened


def test_what_changed_since_is_read_again_and_what_is_gone_is_gone(data: Path, opened: list[str]) -> None:
    before = _indexed(data)
    opened.clear()
    _write(data / "toy/a/1.png", 200, side=9)
    os.remove(data / "toy/b/3.png")
    _write(data / "toy/b/4.png", 4)
    after = _indexed(data)
    assert sorted(opened) == ["1.png", "4.png"]
    assert after.inputs() != before.inputs()
    opened.clear()
    assert after == index_task(_card(), data)
    opened.clear()
    assert _indexed(data) == after
    assert not opened, "what was new is kept too"


def test_a_file_of_the_same_size_and_another_time_is_read_again(data: Path, opened: list[str]) -> None:
    image = data / "toy/a/1.png"
    image.write_bytes(_bmp(1))
    before = _indexed(data)
    image.write_bytes(_bmp(2))
    facts = image.stat()
    os.utime(image, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    opened.clear()
    after = _indexed(data)
    assert opened == ["1.png"]
    assert after.inputs()["samples"] != before.inputs()["samples"]


def _bmp(value: int) -> bytes:
    """Pictures of different values and one size."""
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(out, "BMP")
    return out.getvalue()


def test_another_folder_or_reading_is_not_answered_for(data: Path, opened: list[str]) -> None:
    _indexed(data)
    opened.clear()
    other = data.parent / "other"
    other.mkdir()
    for path in sorted(data.rglob("*.png")):
        copy = other / path.relative_to(data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        _write(copy, 99)
        facts = path.stat()
        os.utime(copy, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert _indexed(other) == index_task(_card(), other)
    assert len(opened) == 16
    opened.clear()
    assert _indexed(data, _card(classes=["b", "a"])).samples[0].label == 1
    assert len(opened) == 8


def test_the_index_of_a_study_that_ran_is_used_where_this_machine_knows_nothing(
    data: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Storage.open(data.parent / "study/tasks/toy")
    task = _indexed(data)
    artefact = Artefact(home, task.inputs())
    save_index(task, artefact)
    home.write_bytes(artefact.folder.root.rsplit("/", 1)[-1].encode(), "current")
    monkeypatch.setenv("RAYSWEEP_HOME", str(data.parent / "another home"))
    opened.clear()
    assert _indexed(data) == task
    assert not opened
    assert not (data.parent / "another home").exists(), "nothing is written that the study has"


@pytest.mark.parametrize("broken", ["task.json", "index.parquet"])
def test_a_damaged_folder_is_as_good_as_none(data: Path, opened: list[str], broken: str) -> None:
    task = _indexed(data)
    (file,) = (data.parent / "home/cache/indexes").rglob(broken)
    file.write_bytes(b"[")
    opened.clear()
    assert _indexed(data) == task
    assert len(opened) == 8
    opened.clear()
    assert _indexed(data) == task
    assert not opened, "it was mended"


def test_a_folder_that_cannot_be_written_costs_only_time(data: Path) -> None:
    (data.parent / "home").write_text("a file where the folder should be")
    assert _indexed(data) == index_task(_card(), data)
    assert prepare(_card(), data, accept=False).n_images == 8
    assert last_prepared(_card()) is None


def test_a_study_decodes_nothing_of_a_set_that_was_prepared(data: Path, opened: list[str]) -> None:
    prepare(_card(), data, accept=False)
    assert len(opened) == 8
    opened.clear()
    _indexed(data)
    prepare(_card(), data, accept=False)
    assert not opened


def test_where_a_set_was_prepared_is_known_until_it_moves(data: Path) -> None:
    assert last_prepared(_card()) is None
    prepare(_card(), data, accept=False)
    assert last_prepared(_card()) == data
    data.rename(data.parent / "elsewhere")
    assert last_prepared(_card()) is None
