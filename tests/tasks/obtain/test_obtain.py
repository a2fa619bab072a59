"""A whole set, brought to its place: by the web, by hand, again, and not at all."""

import fcntl
import hashlib
import io
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from raysweep.errors import RequestError, WorkError
from raysweep.progress import Progress
from raysweep.tasks.obtain import obtain as module
from raysweep.tasks.obtain.obtain import obtain
from raysweep.tasks.prepare import prepare

QUIET = Progress(quiet=True)


def _png(value: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(out, "PNG")
    return out.getvalue()


def _zip(label: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(6):
            archive.writestr(f"{label}/{number}.png", _png(20 * number + len(label)))
    return out.getvalue()


A, B, NOTE = _zip("a"), _zip("bb"), b"read me"


def _file(content: bytes, **keys):
    return {"size": len(content), "md5": hashlib.md5(content).hexdigest(), **keys}


@pytest.fixture
def card(make_card, web, monkeypatch, tmp_path):
    monkeypatch.setenv("RAYSWEEP_HOME", str(tmp_path / "home"))
    files = [
        _file(A, url=web.put("a.zip", A), unpack="."),
        _file(B, url=web.put("b.zip", B), unpack="."),
        _file(NOTE, url=web.put("note.txt", NOTE), name="docs/note.txt"),
    ]
    return make_card(layout={"type": "image_folder", "folders": {"docs": None}}, classes=["a", "bb"], unit="image",
                     n_images=12,
                     download={"files": files})  # fmt: skip


def test_everything_comes_once_and_the_second_call_asks_nobody(card, web, tmp_path):
    summary = prepare(card, tmp_path / "data", accept=False, download=True)
    assert summary.per_class == {"a": 6, "bb": 6}
    assert not summary.oddities.leftovers
    root = tmp_path / "data/toy"
    assert (root / "docs/note.txt").read_bytes() == NOTE
    assert sorted(p.name for p in (root / ".raysweep").iterdir()) == ["lock", "obtained.json"]
    assert len(web.asked) == 3
    assert obtain(card, root, QUIET) == ["everything was downloaded before"]
    (root / "docs/note.txt").unlink()
    assert len(obtain(card, root, QUIET)) == 1
    assert [path for path, _ in web.asked[3:]] == ["/note.txt"]


def test_what_one_file_lacks_is_told_and_the_others_stay(card, web, tmp_path):
    web.put("b.zip", B, statuses=[404])
    with pytest.raises(WorkError, match=r"b\.zip: the server answers 404"):
        obtain(card, tmp_path / "toy", QUIET)
    web.asked.clear()
    lines = obtain(card, tmp_path / "toy", QUIET)
    assert any(line.startswith("b.zip: 0.0 MB, checksum right, 6 files unpacked") for line in lines)
    assert "/b.zip" in [path for path, _ in web.asked]


def test_ctrl_c_ends_it_and_the_next_call_goes_on(card, web, tmp_path, monkeypatch):
    def interrupted(*arguments, **keys):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "unpack", interrupted)
        with pytest.raises(KeyboardInterrupt):
            obtain(card, tmp_path / "toy", QUIET)
    obtain(card, tmp_path / "toy", QUIET)
    assert len(list((tmp_path / "toy").rglob("*.png"))) == 12


def test_the_licence_comes_first(card, web, tmp_path):
    restricted = card.model_copy(update={"licence": card.licence.model_copy(update={"restricted": True})})
    with pytest.raises(RequestError, match="add --accept-licence"):
        prepare(restricted, tmp_path, accept=False, download=True)
    assert not web.asked


def test_files_behind_a_login_are_asked_for_and_taken_where_a_person_puts_them(card, make_card, web, tmp_path):
    said = {"page": "https://example.org/form", "files": [_file(A, name="a.zip", unpack="."), *card.download.files[1:]]}
    hidden = make_card(**card.model_dump(exclude={"download"}), download=said)
    root = tmp_path / "toy"
    with pytest.raises(WorkError, match=rf"given out on https://example\.org/form, by hand; put a\.zip .* into {root}"):
        obtain(hidden, root, QUIET)
    assert not web.asked  # nothing is fetched before all can be had
    (root / "a.zip").write_bytes(B)
    with pytest.raises(WorkError, match=r"a\.zip: has [\d,]+ bytes, and the card says .*it is another file"):
        obtain(hidden, root, QUIET)
    (root / "a.zip").unlink()
    (tmp_path / "a.zip").write_bytes(A)
    obtain(hidden, root, QUIET)
    assert (root / "a/5.png").is_file()
    assert (tmp_path / "a.zip").is_file()  # it is the user's


def test_a_set_that_a_person_unpacked_is_left_alone(card, web, tmp_path):
    for content in (A, B):
        zipfile.ZipFile(io.BytesIO(content)).extractall(tmp_path / "toy")
    assert obtain(card, tmp_path / "toy", QUIET) == ["the set is there already, so nothing is downloaded"]
    (tmp_path / "toy/a/5.png").unlink()
    obtain(card, tmp_path / "toy", QUIET)
    assert (tmp_path / "toy/a/5.png").is_file()


def test_the_archive_of_another_set_is_found_by_the_card(make_card, web, tmp_path, monkeypatch):
    monkeypatch.setenv("RAYSWEEP_HOME", str(tmp_path / "home"))
    other = make_card(layout={"type": "image_folder"}, classes=["a", "c"], unit="image",
                      download={"files": [{"url": web.put("b.zip", B), "unpack": "."}]})  # fmt: skip
    with pytest.raises(RequestError, match="'bb' is none of the classes a, c"):
        prepare(other, tmp_path, accept=False, download=True)


def test_too_little_room_is_said_before_anything_is_fetched(card, web, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(WorkError, match=r"about 0\.0 GB are needed to fetch and unpack the set, and 0\.0 GB are free"):
        obtain(card, tmp_path / "toy", QUIET)
    assert not web.asked


def test_one_process_at_a_time(card, tmp_path):
    (tmp_path / "toy/.raysweep").mkdir(parents=True)
    with open(tmp_path / "toy/.raysweep/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(WorkError, match="another process is preparing it"):
            obtain(card, tmp_path / "toy", QUIET)


def test_a_card_without_a_download_says_where_the_set_comes_from(make_card, tmp_path):
    with pytest.raises(RequestError, match=r"says nothing of a download; get the set \(made by a test\)"):
        obtain(make_card(), tmp_path / "toy", QUIET)
