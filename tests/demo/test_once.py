"""A folder is made whole, once, and never over what is not ours."""

from pathlib import Path

import pytest

from raysweep.demo.once import make_once
from raysweep.errors import RequestError


def put(text: str, calls: list[str]):
    def write(target: Path) -> None:
        calls.append(text)
        (target / "file").write_text(text)

    return write


def test_the_second_time_nothing_is_done_and_other_parameters_replace(tmp_path: Path) -> None:
    folder, calls = tmp_path / "a" / "b", []
    assert make_once(folder, {"seed": 0}, put("first", calls))
    assert not make_once(folder, {"seed": 0}, put("again", calls))
    assert (folder / "file").read_text() == "first"
    assert make_once(folder, {"seed": 1}, put("second", calls))
    assert (folder / "file").read_text() == "second"
    assert calls == ["first", "second"]
    assert [path.name for path in folder.parent.iterdir()] == ["b"]


def test_a_failure_leaves_no_folder_and_the_next_run_makes_it(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        (target / "half").write_text("")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        make_once(tmp_path / "a", {}, fail)
    assert not (tmp_path / "a").exists()
    make_once(tmp_path / "a", {}, put("whole", []))
    assert not (tmp_path / "a" / "half").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failed_replacement_keeps_the_old(tmp_path: Path) -> None:
    make_once(tmp_path / "a", {"seed": 0}, put("old", []))

    def fail(target: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        make_once(tmp_path / "a", {"seed": 1}, fail)
    assert (tmp_path / "a" / "file").read_text() == "old"


def test_what_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("")
    with pytest.raises(RequestError, match="name another folder"):
        make_once(tmp_path, {}, put("x", []))
    with pytest.raises(RequestError, match="name another folder"):
        make_once(tmp_path / "thesis", {}, put("x", []))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]
