"""Slides, spool and patch set on S3, against a server on loopback that the workers reach through their addresses."""

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import getuid
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pytest
from werkzeug.serving import WSGIRequestHandler

from raysweep.patches.read import PatchSet
from raysweep.slides.fetch import fetched
from raysweep.slides.inputs import patch_set_inputs
from raysweep.slides.pipeline import Limits
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import SlideEntry, read_slides
from raysweep.storage import Storage
from tests.bucket import Bucket, serve_bucket

from .labels.makers import polygon, square, write_mask, write_qupath
from .making import Made, make
from .slidemaker import slide_with_tissue, tissue, write_slide

pytestmark = pytest.mark.usefixtures("ray_session")
LABELS = {"source": "regions", "rule": "any", "classes": {"tumour": ["Tumor"]}, "background": "normal",
          "store_mask": True, "values": {"stroma": 0, "gland": 1}}  # fmt: skip
KEYS = {"um": 32, "px": 32, "labels": LABELS, "split": {"test": 0.4}, "export": ["clam"]}
NAMES = ("a", "b 1", "c", "d")
CACHE = Path(tempfile.gettempdir()) / f"raysweep-slides-{getuid()}"  # of every process of this user


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Slides with annotations and masks, and their table."""
    folder = tmp_path_factory.mktemp("wsi")
    (folder / "masks").mkdir()
    for seed, name in enumerate(NAMES):
        pixels = slide_with_tissue(480, 320, (20 + 30 * seed, 20, 440, 300), seed)
        write_slide(folder / f"{name}.svs", pixels, compression="jpeg")
        write_mask(folder / f"masks/{name}.tiff", np.eye(2, dtype=np.uint8).repeat(80, 0).repeat(120, 1))
        write_qupath(folder / f"{name}.geojson", [("Tumor", "Polygon", polygon(square(0, 0, 200 + seed, 100)))])
    rows = [f"{name}.svs,masks/{name}.tiff,{name}.geojson,p{name}" for name in NAMES]
    (folder / "slides.csv").write_text("\n".join(["path,mask,annotations,patient", *rows]))
    return folder


@pytest.fixture(scope="module")
def bucket(folder) -> Iterator[Bucket]:
    """The same files under `set/`."""
    with serve_bucket() as served:
        for path in folder.rglob("*"):
            if path.is_file():
                served.put(f"set/{path.relative_to(folder).as_posix()}", path.read_bytes())
        yield served


@pytest.fixture(scope="module")
def local(folder, tmp_path_factory, ray_session) -> Made:
    spec = PatchSetSpec(slides="slides.csv", **KEYS)
    return make(spec, read_slides(spec, folder), Storage.open(tmp_path_factory.mktemp("local")))


@contextmanager
def noted_requests() -> Iterator[list[str]]:
    """What the server is asked for meanwhile: method and object."""
    asked: list[str] = []

    def note(handler: WSGIRequestHandler, *_: object) -> None:
        asked.append(f"{handler.command} {unquote(urlsplit(handler.path).path)}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WSGIRequestHandler, "log_request", note)
        yield asked


def remote(bucket: Bucket, where: dict | None = None) -> tuple[PatchSetSpec, list[SlideEntry]]:
    spec = PatchSetSpec(slides=bucket.address("set/slides.csv"), where=where or {}, **KEYS)
    return spec, read_slides(spec, Path("/"))


def placeless(table: pa.Table) -> pa.Table:
    return table.drop_columns(["path", "tile_seconds"])


def test_the_same_bytes_as_on_disk(local, bucket):
    made = make(*remote(bucket), Storage.open(bucket.address("out")))
    assert not made.artefact.folder.is_local
    assert not made.spool.is_local
    assert made.artefact.fingerprint == local.artefact.fingerprint
    assert made.shards == local.shards
    assert placeless(made.table).equals(placeless(local.table))
    assert made.table["status"].to_pylist() == ["done"] * 4
    assert made.table["path"].to_pylist()[1] == "b 1.svs"
    labels = {(row["slide"], row["label"], row["mask"] is None) for row in made.rows.to_pylist()}
    assert labels == {(name, label, False) for name in NAMES for label in (0, 1)}
    patches = PatchSet(made.artefact.folder)
    assert patches.n_patches == made.rows.num_rows
    for part in ("clam", "overlays"):
        names = made.artefact.folder.names(part)
        assert names == local.artefact.folder.names(part)
        assert len(names) == 4
    assert not made.artefact.folder.names("merge")
    assert set(made.spool.names()) == set(local.spool.names())


def test_one_more_slide_reads_only_that_slide(local, bucket):
    out = Storage.open(bucket.address("more"))
    make(*remote(bucket, {"slide": list(NAMES[:3])}), out)
    spec, slides = remote(bucket)
    inputs = patch_set_inputs(spec, slides, 0)  # the first and last MiB of every slide
    with noted_requests() as asked:
        made = make(spec, slides, out, inputs=inputs)
    sources = {line.partition(" ")[2] for line in asked if " /slides/set/" in line}
    assert sources == {"/slides/set/d.svs", "/slides/set/masks/d.tiff", "/slides/set/d.geojson"}
    assert any(line.startswith("PUT /slides/more/") for line in asked)
    assert made.shards == local.shards


@pytest.mark.slow
def test_slides_larger_together_than_the_disk(bucket, tmp_path):
    """Eight slides, a quarter of which fit on the disk of a node at a time: each is fetched once."""
    sizes = []
    for seed in range(8):
        path = write_slide(tmp_path / f"s{seed}.svs", tissue(700 + 30 * seed, 640, seed))
        sizes.append(path.stat().st_size)
        bucket.put(f"large/{path.name}", path.read_bytes())
    assert len(set(sizes)) == 8
    limit = sum(sorted(sizes)[-2:]) + 1000
    assert limit < 0.3 * sum(sizes)
    with noted_requests() as once, fetched(bucket.address("large/s0.svs"), folder=tmp_path / "one", limit_bytes=limit):
        pass
    keys = {"um": 16, "px": 32, "root": None, "reader": "openslide"}  # which reads nothing by parts
    local_spec = PatchSetSpec(slides=f"{tmp_path}/*.svs", **keys)
    local = make(local_spec, read_slides(local_spec, tmp_path), Storage.open(tmp_path / "out"))
    spec = PatchSetSpec(slides=bucket.address("large/*.svs"), **keys)
    slides = read_slides(spec, tmp_path)
    inputs = patch_set_inputs(spec, slides, 0)
    before = {slot.name for slot in CACHE.glob("*")}  # of other runs, and in the way
    most, seen, done = 0, set(), threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            held = 0
            for slot in CACHE.glob("[!.]*-*"):
                if slot.name not in before and int(slot.name.rpartition("-")[2]) in sizes:
                    seen.add(slot.name)
                    with suppress(FileNotFoundError):  # it goes while it is looked at
                        held += sum(file.stat().st_size for file in slot.rglob("*.svs"))
            most = max(most, held)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        limits = Limits(cut_mpx=1, fetch_gb=limit / 1e9)
        with noted_requests() as asked:
            made = make(spec, slides, Storage.open(bucket.address("bounded")), limits=limits, inputs=inputs)
    finally:
        done.set()
        watcher.join()
    assert made.shards == local.shards
    assert len(seen) == 8
    got = Counter(line.rpartition("/")[2] for line in asked if line.startswith("GET /slides/large/"))
    fetches = [n / sum(line.startswith("GET") for line in once) for n in got.values()]
    assert len(got) == 8
    assert 1 <= sum(fetches) / 8 <= 1.1, got
    assert max(sizes) <= most <= limit
