from pathlib import Path

import pytest

from raysweep.study import remembered
from raysweep.study.remembered import Remembered


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSWEEP_HOME", str(tmp_path / "home"))


def test_answers_last_and_those_of_others_stay() -> None:
    one, two = Remembered("things", 1), Remembered("things", 1)
    one.keep({"b": 1, "a": [2]}, [3, "x"])
    two.keep({"c": 1}, 4)
    one.save()
    two.save()
    later = Remembered("things", 1)
    assert later.get({"a": [2], "b": 1}) == [3, "x"]
    assert later.get({"c": 1}) == 4
    assert later.get({"c": 2}) is None


def test_other_versions_know_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Remembered("things", 1)
    kept.keep({"a": 1}, 2)
    kept.save()
    assert Remembered("things", 2).get({"a": 1}) is None
    monkeypatch.setattr(remembered, "versions", lambda: {"timm": "0"})
    assert Remembered("things", 1).get({"a": 1}) is None


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"answers": 3}'])
def test_a_damaged_file_or_folder_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "home/cache/things.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    kept = Remembered("things", 1)
    assert kept.get({"a": 1}) is None
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("a file where the folder should be")
    kept.keep({"a": 1}, 2)
    kept.save()
    assert kept.get({"a": 1}) == 2
    assert Remembered("things", 1).get({"a": 1}) is None
