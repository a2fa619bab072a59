"""Which files are a set's own, and which file a name means."""

import unicodedata

import pytest

from raysweep.errors import RequestError
from raysweep.tasks.disk import Disk, files_below, left_by_tools, nfc

NFD = unicodedata.normalize("NFD", "ä.png")


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


@pytest.mark.parametrize(
    "name",
    [".ipynb_checkpoints", "@eaDir", ".thumbnails", "__MACOSX", ".git", "Thumbs", ".AppleDouble", "._x.png",
     "$RECYCLE.BIN", "System Volume Information"],
)  # fmt: skip
def test_what_tools_leave_is_known_by_its_name(name):
    assert left_by_tools(name)


@pytest.mark.parametrize("name", ["x.png", "thumbs up", "a.b", "MACOSX", "@home", "_x.png"])
def test_other_names_are_the_sets_own(name):
    assert not left_by_tools(name)


def test_leftovers_are_found_at_any_depth_and_only_when_asked_for(tmp_path):
    make(tmp_path, "b.png", "a/1.png", "a/@eaDir/1.png/THUMB.jpg", "a/deep/.cache/x/2.png", "a/deep/3.png", "a/._1.png")
    assert list(files_below(tmp_path)) == [("a/1.png", None), ("a/deep/3.png", None), ("b.png", None)]
    everything = dict(files_below(tmp_path, leftovers=True))
    assert everything.pop("a/@eaDir/1.png/THUMB.jpg") == "@eaDir"
    assert everything.pop("a/deep/.cache/x/2.png") == ".cache"
    assert everything.pop("a/._1.png") == "._1.png"
    assert set(everything.values()) == {None}
    hidden = list(files_below(tmp_path, "a/deep/.cache"))
    assert hidden == [("a/deep/.cache/x/2.png", None)], "a folder that is asked for may have any name"


def test_links_are_followed_but_not_in_circles(tmp_path):
    make(tmp_path, "real/1.png", "set/a/2.png")
    (tmp_path / "set/b").symlink_to(tmp_path / "real")
    (tmp_path / "set/a/up").symlink_to(tmp_path / "set")
    (tmp_path / "set/gone.png").symlink_to(tmp_path / "nowhere.png")
    assert [path for path, _ in files_below(tmp_path / "set")] == ["a/2.png", "b/1.png", "gone.png"]


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RequestError, match="cannot be listed"):
        list(files_below(tmp_path, "none"))


def test_a_name_means_the_file_that_has_it_in_another_form(tmp_path):
    make(tmp_path, f"one/{NFD}", "one/x.PNG", "two/x.png", "two/x.PNG", "two/y.PNG", "two/y.Png")
    disk = Disk(tmp_path)
    assert disk.find(f"one/{nfc(NFD)}") == f"one/{NFD}"
    assert disk.find("one/x.png") == "one/x.PNG"
    assert disk.find("two/x.png") == "two/x.png"
    assert disk.find("two/y.png") == "two/y.png", "two files could be meant, so none is"
    assert disk.find("one/X.png") == "one/X.png", "only suffixes differ in case"
    assert disk.find("none/x.png") == "none/x.png"
    assert Disk(tmp_path / "nowhere").find("x.png") == "x.png"


def test_a_file_of_each_form_is_its_own(tmp_path):
    make(tmp_path, NFD, nfc(NFD))
    assert [Disk(tmp_path).find(name) for name in (NFD, nfc(NFD))] == [NFD, nfc(NFD)]
