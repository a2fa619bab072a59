"""Copies of remote slides: shared by the processes of a node, bounded, and safe from kills."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import openslide
import pyarrow.fs as pafs
import pytest

from raysweep.addresses import locate
from raysweep.errors import WorkError
from raysweep.slides import fetch as stage
from raysweep.slides.fetch import fetched, fetched_together
from raysweep.slides.sidecars import Sidecars
from raysweep.slides.table.entries import SlideEntry
from tests.bucket import Bucket, Gate, serve_bucket

from .dicoms import dicom

MIB = 2**20

# Says where the copy is and which file it is, and keeps it in use until told to end.
USER = """
import os, resource, sys
from pathlib import Path
from raysweep.errors import WorkError
from raysweep.slides.fetch import fetched
source, folder, limit, largest = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
if largest:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
print("ready", flush=True)
try:
    with fetched(source, folder=folder, limit_bytes=limit) as path:
        print(path.stat().st_ino, path.read_bytes().count(b"x"), flush=True)
        sys.stdin.readline()
except WorkError as error:
    print("failed:", error, flush=True)
"""


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with serve_bucket() as served:
        yield served


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    started: list[subprocess.Popen] = []

    def run(source: str, folder: Path, limit: int = 100 * MIB, largest: int = 0) -> subprocess.Popen:
        command = [sys.executable, "-c", USER, source, str(folder), str(limit), str(largest)]
        user = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(user)
        assert user.stdout
        assert user.stdout.readline() == "ready\n"
        return user

    yield run
    for user in started:
        user.kill()
        user.communicate()


def copies(folder: Path) -> list[str]:
    """What lies in the cache besides locks: relative names, the slots' own names left out."""
    files = (path.relative_to(folder).parts for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return sorted("/".join(parts[1:]) for parts in files)


def wait_for(happened: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end, "nothing happened for a minute"
        time.sleep(0.02)


def test_a_local_slide_stays_where_it_is(tmp_path):
    (tmp_path / "a b.svs").write_bytes(b"x")
    for source in (str(tmp_path / "a b.svs"), f"file://{tmp_path}/a%20b.svs"):
        with fetched(source, folder=tmp_path / "cache", limit_bytes=0) as path:
            assert path == tmp_path / "a b.svs"
    assert not (tmp_path / "cache").exists()


def test_a_remote_slide_is_copied_once(bucket, tmp_path):
    source = bucket.put("once/a b.svs", b"x" * 1000)
    seen = set()
    for _ in range(2):
        with fetched(source, folder=tmp_path, limit_bytes=MIB) as path:
            assert (path.name, path.read_bytes()) == ("a b.svs", b"x" * 1000)
            seen.add(path.stat().st_ino)
    assert len(seen) == 1


def test_a_slide_that_has_changed_is_copied_again(bucket, tmp_path):
    for data in (b"old", b"newer"):
        with fetched(bucket.put("changing.svs", data), folder=tmp_path, limit_bytes=MIB) as path:
            assert path.read_bytes() == data


def contents(name: str) -> bytes:
    """A DICOM file of the series `1.2.3.4.5.1`, or `1.2.3.4.5.2` for a name that says so; else the name."""
    if not name.lower().endswith(".dcm"):
        return name.encode()
    return dicom("1.2.3.4.5.2" if "other" in name else "1.2.3.4.5.1", more=name.encode())


@pytest.mark.parametrize(
    ("opened", "others", "left"),
    [
        ("s.mrxs", ["s/Slidedat.ini", "s/deep/Data0.dat"], ["t/Slidedat.ini", "t.mrxs"]),
        ("1.dcm", ["2.dcm", "3.DCM"], ["note.txt", "other.dcm"]),
        ("slide", ["slide/1", "slide/2"], ["slide2/1"]),
    ],
)
def test_what_belongs_to_a_slide_comes_with_it(bucket, tmp_path, opened, others, left):
    home = f"parts-{opened}"
    for name in (*others, *left, *([opened] if "." in opened else [])):
        bucket.put(f"{home}/{name}", contents(name))
    with fetched(bucket.address(f"{home}/{opened}"), folder=tmp_path, limit_bytes=MIB) as path:
        assert path.name == opened
        expected = {*others, *([opened] if "." in opened else [])}
        found = {str(file.relative_to(path.parent)) for file in path.parent.rglob("*") if file.is_file()}
        assert found == expected
        assert all((path.parent / name).read_bytes() == contents(name) for name in found)


def test_two_processes_share_one_copy(bucket, tmp_path, start):
    size = 20 * MIB
    bucket.put("shared.svs", b"x" * size)
    gate = Gate(bucket.port, most=MIB)
    source = Bucket(gate.port).address("shared.svs")
    users = [start(source, tmp_path) for _ in range(2)]
    wait_for(lambda: gate.passed > MIB)
    time.sleep(0.5)  # both are waiting now, one for bytes and one for the other
    gate.open.set()
    told = [user.stdout.readline().split() for user in users]
    assert told[0] == told[1]
    assert told[0][1] == str(size)
    assert size <= gate.passed < 1.2 * size
    gate.close()


def test_the_longest_unused_goes_first(bucket, tmp_path):
    a, b, c = (bucket.put(f"lru/{name}.svs", b"x" * MIB) for name in "abc")
    for source in (a, b, a, c):
        with fetched(source, folder=tmp_path, limit_bytes=5 * MIB // 2):
            pass
    assert copies(tmp_path) == ["whole/a.svs", "whole/c.svs"]


def test_a_slide_in_use_stays_and_whoever_needs_its_space_waits(bucket, tmp_path):
    a, b, c = (bucket.put(f"use/{name}.svs", b"x" * MIB) for name in "abc")
    events = []

    def use_c() -> None:
        with fetched(c, folder=tmp_path, limit_bytes=2 * MIB):
            events.append("c")

    with fetched(b, folder=tmp_path, limit_bytes=2 * MIB):
        with fetched(a, folder=tmp_path, limit_bytes=2 * MIB) as path:
            waiting = threading.Thread(target=use_c)
            waiting.start()
            time.sleep(0.5)
            assert path.read_bytes() == b"x" * MIB
            events.append("a")
        waiting.join(60)
    assert events == ["a", "c"]
    assert copies(tmp_path) == ["whole/b.svs", "whole/c.svs"]


def test_space_that_never_comes_is_an_error(bucket, tmp_path, monkeypatch):
    a, b = (bucket.put(f"never/{name}.svs", b"x" * MIB) for name in "ab")
    monkeypatch.setattr(stage, "_PATIENCE_SECONDS", 0.3)
    with (
        fetched(a, folder=tmp_path, limit_bytes=3 * MIB // 2),
        pytest.raises(WorkError, match=r"b\.svs has waited .* where slides in use take most of 1.5 MiB"),
        fetched(b, folder=tmp_path, limit_bytes=3 * MIB // 2),
    ):
        pass


def test_a_slide_larger_than_all_the_space_is_refused(bucket, tmp_path):
    source = bucket.put("large.svs", b"x" * MIB)
    with (
        pytest.raises(WorkError, match=r"s3://slides/large\.svs takes 1 MiB and slides may take 0.5 MiB on the disk"),
        fetched(source, folder=tmp_path / "cache", limit_bytes=MIB // 2),
    ):
        pass
    assert not (tmp_path / "cache").exists()


def test_two_slides_with_their_masks_do_not_hold_each_other_up(bucket, tmp_path, monkeypatch):
    """Each of two workers needs all the space: neither may wait for it while it holds some."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(stage, "_PATIENCE_SECONDS", 10)
    slides, masks = ([bucket.put(f"two/{name}.{end}", b"x" * MIB) for name in "ab"] for end in ("svs", "tiff"))
    entries = [SlideEntry("ab", slide, mask=mask) for slide, mask in zip(slides, masks, strict=True)]
    begun, held = threading.Barrier(2), []

    def use(entry: SlideEntry) -> None:
        begun.wait()
        with Sidecars.of(entry, 2 * MIB) as sidecars:
            assert sidecars.mask is not None
            held.append((sidecars.path.stat().st_size, sidecars.mask.stat().st_size))

    users = [threading.Thread(target=use, args=(entry,)) for entry in entries]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert held == [(MIB, MIB)] * 2


def test_a_slide_too_large_with_its_mask_is_refused_at_once(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(stage, "_PATIENCE_SECONDS", 1)
    entry = SlideEntry("s", bucket.put("sum/s.svs", b"x" * MIB), mask=bucket.put("sum/mask.tiff", b"x" * MIB))
    told = (
        r"^s3://slides/sum/s\.svs and 1 more file of the same slide take 2 MiB and slides may take 1.5 MiB on the disk"
    )
    with pytest.raises(WorkError, match=told), Sidecars.of(entry, 3 * MIB // 2):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_already_or_named_twice_counts_once(bucket, tmp_path):
    slide, mask, other = (bucket.put(f"once-each/{name}", b"x" * MIB) for name in ("s.svs", "mask.tiff", "o.svs"))
    with fetched_together([mask, other], folder=tmp_path, limit_bytes=3 * MIB) as (first, _):
        with fetched_together([slide, mask, mask], folder=tmp_path, limit_bytes=3 * MIB) as paths:
            assert [path.name for path in paths] == ["s.svs", "mask.tiff", "mask.tiff"]
            assert paths[1].samefile(first)
        assert len(copies(tmp_path)) == 3


def test_what_is_there_of_a_slide_does_not_make_room_for_the_rest(bucket, tmp_path):
    """The mask is the longest unused, and must not go for its own slide."""
    slide, mask, other = (bucket.put(f"own/{name}", b"x" * MIB) for name in ("s.svs", "mask.tiff", "o.svs"))
    for source in (mask, other):
        with fetched(source, folder=tmp_path, limit_bytes=2 * MIB):
            pass
    with fetched_together([slide, mask], folder=tmp_path, limit_bytes=2 * MIB) as paths:
        assert all(path.stat().st_size == MIB for path in paths)
    assert copies(tmp_path) == ["whole/mask.tiff", "whole/s.svs"]


def test_local_files_beside_remote_ones_stay_where_they_are(bucket, tmp_path):
    (tmp_path / "mask.tiff").write_bytes(b"x" * 100)
    sources = [bucket.put("mixed/s.svs", b"x"), str(tmp_path / "mask.tiff")]
    with fetched_together(sources, folder=tmp_path / "cache", limit_bytes=10) as paths:
        assert paths[1] == tmp_path / "mask.tiff"
        assert paths[0].read_bytes() == b"x"


def test_one_file_that_cannot_be_copied_frees_the_others(bucket, tmp_path, monkeypatch):
    whole, lost = bucket.put("freed/s.svs", b"x" * 100), bucket.put("freed/mask.tiff", b"x" * 200)
    copy_files = stage.pafs.copy_files

    def fail(source: str, *args: object, **options: object) -> None:
        if source.endswith("mask.tiff"):
            raise OSError("the line is cut")
        copy_files(source, *args, **options)

    monkeypatch.setattr(stage.pafs, "copy_files", fail)
    told = r"^s3://slides/freed/mask\.tiff cannot be copied to .* \(the line is cut\)$"
    with (
        pytest.raises(WorkError, match=told),
        fetched_together([whole, lost], folder=tmp_path, limit_bytes=300),
    ):
        pass
    assert copies(tmp_path) == ["whole/s.svs"]
    with fetched(bucket.put("freed/other.svs", b"x" * 300), folder=tmp_path, limit_bytes=300):
        assert copies(tmp_path) == ["whole/other.svs"]


def test_what_others_keep_in_the_folder_is_left_alone(bucket, tmp_path):
    for name in ("notes", "of-somebody", "f" * 32 + "-12x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept").write_text("x" * 100)
    (tmp_path / ".gone-file").write_text("x")
    a, b = (bucket.put(f"foreign/{name}.svs", b"x" * 100) for name in "ab")
    for source in (a, b):
        with fetched(source, folder=tmp_path, limit_bytes=100):
            pass
    assert len(copies(tmp_path)) == 1 + 3 + 1


def test_a_kill_in_the_middle_of_a_copy(bucket, tmp_path, start):
    size = 20 * MIB  # three pieces: the second is held up
    bucket.put("killed.svs", b"x" * size)
    gate = Gate(bucket.port, most=10 * MIB)
    source = Bucket(gate.port).address("killed.svs")
    user = start(source, tmp_path)
    wait_for(lambda: gate.passed > 10 * MIB and copies(tmp_path))
    assert copies(tmp_path) == ["part/killed.svs"]
    user.send_signal(signal.SIGKILL)
    user.wait()
    gate.open.set()
    with fetched(source, folder=tmp_path, limit_bytes=100 * MIB) as path:
        assert path.read_bytes() == b"x" * size
    assert copies(tmp_path) == ["whole/killed.svs"]
    gate.close()


def test_a_half_copy_of_a_killed_process_makes_room(bucket, tmp_path, start):
    bucket.put("half.svs", b"x" * 20 * MIB)
    other = bucket.put("other.svs", b"x" * MIB)
    gate = Gate(bucket.port, most=10 * MIB)
    user = start(Bucket(gate.port).address("half.svs"), tmp_path, limit=20 * MIB)
    wait_for(lambda: gate.passed > 10 * MIB and copies(tmp_path))
    user.send_signal(signal.SIGKILL)
    user.wait()
    with fetched(other, folder=tmp_path, limit_bytes=20 * MIB):
        assert copies(tmp_path) == ["whole/other.svs"]
    gate.close()


def test_a_killed_user_holds_nothing(bucket, tmp_path, start):
    a, b = (bucket.put(f"user/{name}.svs", b"x" * MIB) for name in "ab")
    user = start(a, tmp_path, limit=MIB)
    assert user.stdout.readline().split()[1] == str(MIB)
    user.send_signal(signal.SIGKILL)
    user.wait()
    with fetched(b, folder=tmp_path, limit_bytes=MIB):
        assert copies(tmp_path) == ["whole/b.svs"]


def test_a_kill_in_the_middle_of_a_removal(bucket, tmp_path):
    a, b = (bucket.put(f"gone/{name}.svs", b"x" * MIB) for name in "ab")
    with fetched(a, folder=tmp_path, limit_bytes=MIB) as path:
        pass
    slot = path.parent.parent
    slot.rename(slot.with_name(".gone-0123"))  # what a process that is killed then leaves
    with fetched(b, folder=tmp_path, limit_bytes=MIB):
        assert copies(tmp_path) == ["whole/b.svs"]


def test_a_copy_that_cannot_be_written_leaves_nothing(bucket, tmp_path, start):
    source = bucket.put("unwritten.svs", b"x" * 2 * MIB)
    user = start(source, tmp_path, largest=MIB)
    assert "failed: s3://slides/unwritten.svs cannot be copied to" in user.stdout.readline()
    assert copies(tmp_path) == []
    with fetched(source, folder=tmp_path, limit_bytes=2 * MIB) as path:
        assert path.stat().st_size == 2 * MIB


def test_a_slide_that_is_not_there(bucket, tmp_path):
    with (
        pytest.raises(WorkError, match=r"no such file: s3://slides/none\.svs$"),
        fetched(bucket.address("none.svs"), folder=tmp_path, limit_bytes=MIB),
    ):
        pass


def test_a_storage_that_is_not_there(tmp_path):
    with (
        pytest.raises(WorkError, match=r"s3://slides/a\.svs cannot be reached") as caught,
        fetched(Bucket(1).address("a.svs"), folder=tmp_path, limit_bytes=MIB),
    ):
        pass
    assert "hush" not in str(caught.value)


def test_the_folder_is_the_users_own_by_default(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    with fetched(bucket.put("default.svs", b"x"), limit_bytes=MIB) as path:
        cache = tmp_path / f"raysweep-slides-{os.getuid()}"
        assert path.is_relative_to(cache)
        assert cache.stat().st_mode & 0o777 == 0o700


def test_a_real_slide_opens_from_its_copy(bucket, tmp_path, test_data):
    real = test_data / "wsi" / "CMU-1-Small-Region.svs"
    source = bucket.put("wsi/CMU-1-Small-Region.svs", real.read_bytes())
    with (
        fetched(source, folder=tmp_path, limit_bytes=100 * MIB) as path,
        openslide.OpenSlide(path) as copy,
        openslide.OpenSlide(real) as original,
    ):
        box = (500, 700), 0, (256, 256)
        assert copy.dimensions == original.dimensions
        assert copy.read_region(*box).tobytes() == original.read_region(*box).tobytes()


def test_an_object_is_never_written_outside_of_its_slide(bucket, tmp_path):
    """A key is any text; the files of a slide are named by theirs."""
    bucket.put("keys/s.mrxs", b"")
    bucket.put("keys/s/Slidedat.ini", b"")
    fs, inside = locate(bucket.address("keys/s.mrxs"))

    class Odd(pafs.FileSystemHandler):
        def get_file_info_selector(self, selector):
            return [
                *fs.get_file_info(selector),
                pafs.FileInfo(f"{selector.base_dir}/../../../out", pafs.FileType.File, size=1),
            ]

        def get_file_info(self, paths):
            return fs.get_file_info(paths)

    Odd.__abstractmethods__ = frozenset()
    with pytest.raises(
        WorkError, match=r"keys/s\.mrxs: one of its objects is called .*/out, which is outside of its folder"
    ):
        stage._look(bucket.address("keys/s.mrxs"), pafs.PyFileSystem(Odd()), inside)
