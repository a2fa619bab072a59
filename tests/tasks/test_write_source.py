"""A labelled set as a patch set."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from raysweep.errors import WorkError
from raysweep.patches.codec import decode
from raysweep.patches.outcomes import read_outcomes
from raysweep.patches.read import PatchSet
from raysweep.patches.schema import patch_schema
from raysweep.patches.shuffle.spool import read_piece
from raysweep.patches.write import contents
from raysweep.progress import Progress
from raysweep.randomness import stable_hash
from raysweep.storage import Artefact, Storage
from raysweep.tasks import write_source as module
from raysweep.tasks.cards import load_card
from raysweep.tasks.files import load_image
from raysweep.tasks.source import source_inputs
from raysweep.tasks.task import Task, index_task
from raysweep.tasks.write_source import write_source

pytestmark = pytest.mark.usefixtures("ray_session")
_COLUMNS = ["image", "slide", "patient", "x", "y", "mpp", "tissue", "label", "mask", "split", "key"]


def _write(task: Task, home: Path, seed: int = 0, workers: int | None = None) -> Artefact:
    artefact = Artefact(Storage.open(home), source_inputs(task, seed))
    write_source(task, artefact, seed=seed, workers=workers, progress=Progress(quiet=True))
    return artefact


def _rows(artefact: Artefact) -> list[dict]:
    patches = PatchSet(artefact.folder)
    return [row for group in patches.row_groups for row in patches.read(group, _COLUMNS).to_pylist()]


def _bytes(artefact: Artefact) -> list[bytes]:
    return [artefact.folder.read_bytes("shards", name) for name in artefact.folder.names("shards")]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, make_card) -> Task:
    """Thirteen images of all kinds; the fourth is large, and the last cannot be decoded."""
    data = tmp_path_factory.mktemp("data")
    (data / "toy").mkdir()
    rng = np.random.default_rng(0)
    lines = ["image,label,patient"]
    for i in range(12):
        size = (90, 70) if i == 3 else (20 + i % 2, 20)
        name = f"{i:02d}.{('png', 'jpg', 'bmp')[i % 3]}"
        Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)).save(data / "toy" / name)
        lines.append(f"{name},{'ab'[i % 2]},p{i % 5}")
    (data / "toy/bad.png").write_bytes((data / "toy/00.png").read_bytes()[:80])
    lines.append("bad.png,a,p9")
    (data / "toy/labels.csv").write_text("\n".join(lines) + "\n")
    return index_task(make_card(px=24), data)


@pytest.fixture(scope="module")
def written(drawn, tmp_path_factory) -> Artefact:
    return _write(drawn, tmp_path_factory.mktemp("source"))


def test_every_image_is_in_it_with_its_unit_and_class(drawn, written):
    patches, rows = PatchSet(written.folder), _rows(written)
    assert patches.classes == ["a", "b"]
    assert (patches.px, patches.mpp) == (24, None)
    samples = {sample.id: sample for sample in drawn.samples}
    assert {row["slide"] for row in rows} == set(samples)
    for row in rows:
        sample = samples[row["slide"]]
        assert (row["patient"], row["label"], row["split"], row["mask"]) == (sample.unit, sample.label, None, None)
        assert math.isnan(row["mpp"])
        assert row["key"] == stable_hash(row["slide"], row["x"], row["y"], 0)
        pixels = decode(row["image"]["bytes"])
        whole = np.asarray(load_image(drawn.root / sample.image))
        assert np.array_equal(pixels, whole[row["y"] : row["y"] + 24, row["x"] : row["x"] + 24])
        ending = "jpg" if sample.image.endswith("jpg") else "png"
        assert row["image"]["path"] == f"{row['slide']}_{row['x']}_{row['y']}.{ending}"
        if not sample.image.endswith("bmp") and sample.id != "03.png":
            assert row["image"]["bytes"] == (drawn.root / sample.image).read_bytes()
    assert sorted((r["x"], r["y"]) for r in rows if r["slide"] == "03.png") == [
        (x, y) for x in (0, 24, 48, 66) for y in (0, 24, 46)
    ]
    assert [row["key"] for row in rows] == sorted(row["key"] for row in rows)
    assert sum(group.usable for group in patches.row_groups) == len(rows) == 11 + 12
    assert sum(group.labelled for group in patches.row_groups) == len(rows)
    table = written.folder.read_table("shards", "00000-of-00001.parquet")
    assert table.schema.equals(patch_schema(["a", "b"]), check_metadata=True)


def test_its_slide_table_says_what_became_of_each_image(drawn, written):
    slides = {slide.slide: slide for slide in read_outcomes(written.folder)}
    assert len(slides) == 13
    assert slides["bad.png"].status == "skipped"
    assert "not in the task's index: the image cannot be read" in slides["bad.png"].reason
    assert {slide.status for name, slide in slides.items() if name != "bad.png"} == {"done"}
    assert (slides["03.png"].n_patches, slides["03.png"].label, slides["03.png"].patient) == (12, "b", "p3")
    hashes = written.folder.read_table("slides.parquet")["hash"].to_pylist()
    assert len({h for h in hashes if h}) == 12
    assert written.manifest()["counts"] | {"bytes": 0} == {
        "slides": 13, "done": 12, "failed": 0, "skipped": 1, "patches": 23, "shards": 1, "bytes": 0,
    }  # fmt: skip
    assert written.folder.names() == ["manifest.json", "merge.json", "shards", "shards.json", "slides.parquet"]


def test_the_bytes_do_not_depend_on_workers_order_or_the_size_of_tasks(drawn, written, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_TASKS", 3)
    turned = Task(drawn.card, drawn.root, drawn.samples[::-1], drawn.excluded, drawn.examined[::-1])
    again = _write(turned, tmp_path, workers=1)
    assert again.fingerprint == written.fingerprint
    assert _bytes(again) == _bytes(written)
    assert contents(again.folder) == contents(written.folder)


def test_a_worker_writes_pieces_before_they_grow_large(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PIECE_BYTES", 3000)
    ids = [sample.id for sample in drawn.samples]
    work = pa.Table.from_pylist([{"number": 2, "ids": ids, "paths": ids}], schema=module._WORK)
    pieces = Storage.open(tmp_path)
    [result] = module._read_images(work, pieces, drawn.reader, 24, 0, "run")
    found = json.loads(result["result"][0].as_py())
    assert len(found["pieces"]) > 5
    tables = [read_piece(pieces, piece["path"]) for piece in found["pieces"]]
    assert [table.num_rows for table in tables] == [piece["rows"] for piece in found["pieces"]]
    assert max(piece["bytes"] for piece in found["pieces"]) < 6000
    assert all(table["key"].to_pylist() == sorted(table["key"].to_pylist()) for table in tables)
    assert {name for table in tables for name in table["slide"].to_pylist()} == set(ids)


def test_a_killed_run_goes_on_and_an_image_that_fails_ends_nothing(drawn, tmp_path, monkeypatch):
    """What was read before the kill is not read again; what failed is tried again by the next call, and only that."""
    data = tmp_path / "data/toy"
    shutil.copytree(drawn.root, data)
    moved = Task(drawn.card, data, drawn.samples, drawn.excluded, drawn.examined)
    (data / "05.bmp").unlink()

    def killed(*arguments, **keys):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "merge", killed)
        with pytest.raises(KeyboardInterrupt):
            _write(moved, tmp_path / "home")
    for file in data.iterdir():
        file.rename(tmp_path / file.name)
    artefact = _write(moved, tmp_path / "home")
    assert artefact.done()
    slides = {slide.slide: slide for slide in read_outcomes(artefact.folder)}
    assert slides["05.bmp"].status == "failed"
    assert "No such file" in slides["05.bmp"].reason
    assert str(tmp_path) not in slides["05.bmp"].reason
    assert artefact.manifest()["counts"]["failed"] == 1
    without = contents(artefact.folder)
    created = artefact.folder.read_bytes("manifest.json")
    _write(moved, tmp_path / "home")
    assert artefact.folder.read_bytes("manifest.json") == created
    for file in drawn.root.iterdir():
        shutil.copy(file, data)
    _write(moved, tmp_path / "home")
    assert artefact.manifest()["counts"]["failed"] == 0
    assert contents(artefact.folder) != without


def test_a_set_of_which_nothing_can_be_read_is_no_source(drawn, tmp_path):
    gone = Task(drawn.card, tmp_path / "gone", drawn.samples, [], drawn.examined)
    with pytest.raises(WorkError, match=r"no image of task toy could be written as a patch \(00.png: .*No such file"):
        _write(gone, tmp_path)
    assert {
        slide.status for slide in read_outcomes(Artefact(Storage.open(tmp_path), source_inputs(gone, 0)).folder)
    } == {"failed"}


def test_glas(test_data, tmp_path):
    """The images of the segmentation card are 775 x 522 px, six windows; its labels are masks, which patches lack."""
    task = index_task(load_card("glas-glands", []), test_data, check_images=False)
    keep = [i for i, sample in enumerate(task.samples) if i % 20 == 0]
    some = Task(task.card, task.root, [task.samples[i] for i in keep], [], [task.examined[i] for i in keep])
    artefact = _write(some, tmp_path)
    patches, rows = PatchSet(artefact.folder), _rows(artefact)
    assert (patches.px, patches.mpp, patches.classes) == (320, 0.62, [])
    assert {row["label"] for row in rows} == {None}
    assert {row["slide"] for row in rows} == {sample.id for sample in some.samples}
    assert len({row["patient"] for row in rows}) > 4
    for row in rows[:6]:
        assert decode(row["image"]["bytes"]).shape == (320, 320, 3)
    assert sum(group.labelled for group in patches.row_groups) == 0
