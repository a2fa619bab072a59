"""Slides that failed are tried again by the next run: what that changes, and what it leaves alone."""

import os
import shutil
import subprocess
import sys
from copy import copy
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
import yaml

from raysweep.errors import RequestError, WorkError
from raysweep.progress import Progress
from raysweep.storage import Artefact
from raysweep.study.clean import remove, unused
from raysweep.study.graph import Graph, build_graph
from raysweep.study.load import load_study
from raysweep.study.run import Outcome, run_study
from raysweep.study.status import status_rows
from raysweep.study.tile import tile_slides
from tests.drawn import copy_tissue
from tests.slides.slidemaker import tissue, write_slide

_QUIET = Progress(quiet=True)
_MIB = 2**20


class Study:
    """Two good slides and one of which a tile is damaged, so far inside the file that its identity does not tell."""

    def __init__(self, folder: Path, **patches: object) -> None:
        self.folder = folder
        for seed, name in enumerate(("a", "b", "hurt")):
            write_slide(folder / f"{name}.svs", tissue(320, 320, seed), compression="jpeg", downsamples=(4,))
        with tifffile.TiffFile(self.hurt, mode="r+b") as tiff, open(self.hurt, "ab") as file:
            page, (start, size) = tiff.pages[0], (tiff.pages[0].dataoffsets[0], tiff.pages[0].databytecounts[0])
            self._tile = self.hurt.read_bytes()[start : start + size]
            file.write(bytes(_MIB))
            self._place = file.tell()
            page.tags["TileOffsets"].overwrite([self._place, *page.dataoffsets[1:]])
            file.write(bytes(size) + bytes(_MIB))
        copy_tissue(folder / "data", patients=8)
        frozen = {"protocols": {"classification": ["linear"]}, "fractions": [0.5], "trials": 1, "repeats": 1}
        trained = {"backbone": "resnet10t", "method": "simclr", "patches": "tissue", "epochs": 1}
        study = {
            "name": "small",
            "storage": str(folder / "runs"),
            "data": str(folder / "data"),
            "patches": {"tissue": {"slides": "*.svs", "um": 32, "px": 32, **patches}},
            "checkpoints": {"random": {"backbone": "resnet10t"}, "chained": {"init": "trained"}, "trained": trained},
            "tasks": ["demo-tissue"],
            "transfer": frozen,
            "compare": {"baseline": "random", "primary": {"protocol": "linear"}},
        }
        self.path.write_text(yaml.safe_dump(study, sort_keys=False))

    @property
    def path(self) -> Path:
        return self.folder / "small.yaml"

    @property
    def home(self) -> Path:
        return self.folder / "runs/small"

    @property
    def hurt(self) -> Path:
        return self.folder / "hurt.svs"

    def heal(self) -> None:
        with open(self.hurt, "r+b") as file:
            file.seek(self._place)
            file.write(self._tile)

    def tile(self, progress: Progress = _QUIET) -> Outcome:
        return run_study(load_study(self.path), stages=["tile"], progress=progress)

    @property
    def graph(self) -> Graph:
        return build_graph(load_study(self.path))

    @property
    def artefact(self) -> Artefact:
        return self.graph.patch_sets["tissue"].artefact

    @property
    def shards(self) -> dict[str, tuple[bytes, int]]:
        """Content and time of each."""
        folder = Path(self.artefact.folder.path("shards"))
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}

    @property
    def slides(self) -> pa.Table:
        return self.artefact.folder.read_table("slides.parquet")

    @property
    def statuses(self) -> list[str]:
        return self.slides["status"].to_pylist()

    def pretend(self) -> dict[str, list[Artefact]]:
        """Make all that could be made from the patch set and beside it, without the work; gives who saw the set."""
        graph = self.graph
        made = {name: [*plan.artefacts] for name, plan in graph.checkpoints.items()}
        for feature in graph.features:
            made[feature.artefact.home.root.split("/")[-2]].append(feature.artefact)
        for cell in graph.cells:
            made[cell.checkpoint] += [repeat.artefact for repeat in cell.repeats]
        for artefact in chain.from_iterable(made.values()):
            artefact.folder.write_bytes(b"old", "mark")
            counts = {"trials": 1, "done": 1, "pruned": 0, "failed": 0, "folds": 1, "failed_finals": 0, "best": 0.5,
                      "select": "val_metric"}  # fmt: skip
            artefact.commit(config={}, counts=counts, timings={"search_seconds": 1.0})
        return made


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Study:
    study = Study(tmp_path_factory.mktemp("tiled"))
    (failure,) = study.tile().failures
    assert failure.startswith("slide hurt of patch set tissue: pixels cannot be read"), failure
    return study


@pytest.fixture
def study(tiled: Study, tmp_path: Path) -> Study:
    """Tiled once, a copy for each test."""
    study = copy(tiled)
    study.folder = tmp_path / "copy"
    shutil.copytree(tiled.folder, study.folder)
    study.path.write_text(study.path.read_text().replace(str(tiled.folder), str(study.folder)))
    return study


def test_slides_that_fail_again_change_nothing(study: Study) -> None:
    made, shards = study.pretend(), study.shards
    manifest = study.artefact.folder.read_bytes("manifest.json")
    again = study.tile()
    assert [line[:33] for line in again.failures] == ["slide hurt of patch set tissue: p"]
    assert study.shards == shards
    assert study.artefact.folder.read_bytes("manifest.json") == manifest
    assert all(artefact.done() for artefact in chain.from_iterable(made.values()))
    assert not unused(load_study(study.path))
    _, _, rows = status_rows(load_study(study.path))
    assert rows[0][:3] == ["patch set tissue", "done", "the next run tries the slides that failed again"]


def test_a_slide_that_can_be_read_now_comes_into_the_set(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spooled = {path: path.stat().st_mtime_ns for path in (study.home / "spool").rglob("*") if path.is_file()}
    study.heal()
    assert study.tile(Progress()).failures == []
    assert study.statuses == ["done"] * 3
    counts = study.artefact.manifest()["counts"]
    assert (counts["done"], counts["failed"]) == (3, 0)
    assert {path: path.stat().st_mtime_ns for path in spooled} == spooled, "only what had failed is read again"
    never = run_study(load_study(study.path, [f"storage={tmp_path}/never"]), stages=["tile"], progress=_QUIET)
    [other] = never.home.at("patches", "tissue").names()[:1]
    there = never.home.at("patches", "tissue", other)
    assert {name: there.read_bytes("shards", name) for name in there.names("shards")} == {
        name: data for name, (data, _) in study.shards.items()
    }
    assert "made from" not in capsys.readouterr().err, "nothing had been made from it"


def test_what_was_made_without_a_slide_is_not_what_is_made_with_it(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    made = study.pretend()
    study.heal()
    study.tile(Progress())
    now = {name: plan.artefacts[0] for name, plan in study.graph.checkpoints.items()}
    assert {name for name, artefact in now.items() if artefact.done()} == {"random"}
    told = " ".join(capsys.readouterr().err.split())
    assert "2 checkpoints and 2 repeats were made from patch sets that have changed; they do not count any more" in told
    assert all(artefact.done() for artefact in chain.from_iterable(made.values())), "it is beside, whole"
    beside = {path for path, _ in unused(load_study(study.path))}
    stale = [*made["trained"], *made["chained"]]
    assert beside == {artefact.folder.root.removeprefix(f"{study.home}/") for artefact in stale}


def test_what_is_made_depends_on_what_a_set_holds_and_not_on_how_it_came_to_be(study: Study, tmp_path: Path) -> None:
    def trained(*overrides: str) -> str:
        [artefact] = build_graph(load_study(study.path, overrides)).checkpoints["trained"].artefacts
        return artefact.fingerprint

    lacking = trained()
    assert trained(f"checkpoints.trained.patches={study.artefact.folder.root}") == lacking
    study.heal()
    study.tile()
    assert trained() != lacking
    fresh = f"storage={tmp_path}/never"
    run_study(load_study(study.path, [fresh]), stages=["tile"], progress=_QUIET)
    assert trained(fresh) == trained(), "one that lost a slide on the way is one that never did"
    wider = "patches.tissue.max_upsample=1.1"  # another set, of the same patches
    spooled = {path: path.stat().st_mtime_ns for path in (study.home / "spool").rglob("cut-*")}
    assert spooled
    _, _, rows = status_rows(load_study(study.path, [wider]))
    assert rows[0][3] == "3/3 slides read", "the spool has them"
    run_study(load_study(study.path, [wider]), stages=["tile"], progress=_QUIET)
    assert trained(wider) == trained()
    assert {path: path.stat().st_mtime_ns for path in (study.home / "spool").rglob("cut-*")} == spooled


def test_an_export_is_written_beside_a_finished_set_and_changes_nothing_else(study: Study) -> None:
    study.heal()
    study.tile()
    made, shards = study.pretend(), study.shards
    study.path.write_text(study.path.read_text().replace("um: 32", "export: [geojson]\n    um: 32"))
    assert study.tile().failures == []
    folder = study.artefact.folder
    assert folder.names("geojson") == ["a.geojson", "b.geojson", "hurt.geojson"]
    assert study.shards == shards
    assert all(artefact.done() for artefact in chain.from_iterable(made.values()))
    assert {a.folder.root for a in study.graph.artefacts()} >= {a.folder.root for m in made.values() for a in m}


def test_a_set_that_failed_is_told_though_another_one_has_changed(study: Study, tmp_path: Path) -> None:
    text = yaml.safe_load(study.path.read_text())
    text["patches"] = {"none": text["patches"]["tissue"] | {"slides": "hurt.svs"}, **text["patches"]}
    study.path.write_text(yaml.safe_dump(text | {"storage": str(tmp_path / "fresh")}, sort_keys=False))
    with pytest.raises(WorkError, match=r"^no slide of patch set none could be tiled: hurt: pixels cannot be read"):
        study.tile()
    assert study.statuses == ["done", "done", "failed"], "every set is tried before the study stops"
    reasons = {row[0]: row[2] for row in status_rows(load_study(study.path))[2]}
    assert reasons["patch set none"].startswith("no slide of patch set none could be tiled")


def test_too_many_slides_that_fail_stop_a_study_before_anything_is_made_of_the_rest(
    study: Study, tmp_path: Path
) -> None:
    shutil.copy(study.hurt, study.folder / "worse.svs")
    fresh = f"storage={tmp_path}/fresh"
    told = (
        r"^2 of 4 slides of patch set tissue failed, and patches.tissue.max_failed is 0.02: .* run again; what was "
        r"read is kept \(hurt: pixels cannot be read.*; worse: pixels cannot be read"
    )
    with pytest.raises(WorkError, match=told):
        run_study(load_study(study.path, [fresh]), progress=_QUIET)
    home = tmp_path / "fresh/small"
    assert not (home / "checkpoints").exists()
    spooled = {path: path.stat().st_mtime_ns for path in (home / "spool").rglob("cut-*")}
    allowed = load_study(study.path, [fresh, "patches.tissue.max_failed=0.5"])
    assert len(run_study(allowed, stages=["tile"], progress=_QUIET).failures) == 2
    assert {path: path.stat().st_mtime_ns for path in (home / "spool").rglob("cut-*")} == spooled
    again = load_study(study.path, [fresh])
    assert len(run_study(again, stages=["tile"], progress=_QUIET).failures) == 2, "it stays"


def test_the_spool_of_a_complete_set_can_go(study: Study, tmp_path: Path) -> None:
    file = load_study(study.path)
    assert unused(file, spool=True) == [], "the slide that failed is tried again, with the others of the spool"
    study.heal()
    study.tile()
    assert unused(file) == []
    found = [path for path, _ in unused(file, spool=True)]
    assert len(found) == 3
    assert all(path.startswith("spool/") for path in found)
    assert sum(size for _, size in unused(file, spool=True)) > 10_000
    remove(file, found)
    assert study.tile().failures == []
    dropped = load_study(study.path, [f"storage={tmp_path}/fresh", "compute.keep_spool=false"])
    run_study(dropped, stages=["tile"], progress=_QUIET)
    home = tmp_path / "fresh/small"
    assert [path.name for path in (home / "spool").iterdir()] == ["kin"]
    assert len(list((home / "patches/tissue").glob("*/shards/*"))) == len(study.shards)
    left, young = home / "patches/.tmp-killed", home / "patches/.tmp-written"
    for path in (left, young):
        path.write_bytes(b"12345")
    os.utime(left, (0, 0))
    assert unused(dropped) == [("patches/.tmp-killed", 5)]
    remove(dropped, ["patches/.tmp-killed"])
    assert [path.exists() for path in (left, young)] == [False, True]


def _stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_run_that_is_stopped_while_it_reads_leaves_the_set_as_it_was(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = study.artefact.folder.read_bytes("manifest.json")
    monkeypatch.setattr("raysweep.slides.read_all.read_slides_into", _stop)
    with pytest.raises(KeyboardInterrupt):
        study.tile()
    assert study.artefact.done()
    assert study.artefact.folder.read_bytes("manifest.json") == manifest


@pytest.mark.parametrize(
    "stopped", ["raysweep.slides.tile.merge", "raysweep.patches.shuffle.merge.in_parallel", "commit", "place"]
)
def test_a_run_that_is_stopped_half_way_is_gone_on_with(
    study: Study, monkeypatch: pytest.MonkeyPatch, stopped: str
) -> None:
    """The set is made anew beside the old one, which stays: before there are shards, after that, and when all are."""
    study.pretend()
    study.heal()
    manifest = study.artefact.folder.read_bytes("manifest.json")
    with monkeypatch.context() as patch:
        if stopped == "commit":
            patch.setattr(Artefact, "commit", _stop)
        elif stopped == "place":
            patch.setattr("raysweep.slides.tile._take_place", _stop)
        else:
            patch.setattr(stopped, _stop)
        with pytest.raises(KeyboardInterrupt):
            study.tile()
    assert study.artefact.folder.read_bytes("manifest.json") == manifest
    assert study.statuses == ["done", "done", "failed"]
    assert study.tile().failures == []
    assert not study.artefact.home.exists("anew")
    assert study.statuses == ["done"] * 3
    assert study.artefact.manifest()["counts"]["done"] == 3
    assert sum(pq.read_metadata(study.artefact.folder.path("shards", name)).num_rows for name in study.shards) == 75
    assert not study.graph.checkpoints["trained"].artefacts[0].done()
    assert study.graph.checkpoints["random"].artefacts[0].done()


def test_a_slide_may_fail_for_another_reason(study: Study) -> None:
    shards = study.shards
    made = study.pretend()
    study.artefact.folder.write_table(
        pa.Table.from_pylist(
            [
                row | {"reason": "an old reason"} if row["status"] == "failed" else row
                for row in study.slides.to_pylist()
            ],
            schema=study.slides.schema,
        ),
        "slides.parquet",
    )
    study.tile()
    (reason,) = [row["reason"] for row in study.slides.to_pylist() if row["status"] == "failed"]
    assert reason.startswith("pixels cannot be read")
    assert study.shards == shards
    assert all(artefact.done() for artefact in chain.from_iterable(made.values()))


def test_the_report_tells_that_a_slide_is_there_now(study: Study) -> None:
    run_study(load_study(study.path), stages=["tile", "report"], progress=_QUIET)
    state = (study.home / "report/manifest.json").read_text()
    study.heal()
    run_study(load_study(study.path), stages=["tile", "report"], progress=_QUIET)
    assert (study.home / "report/manifest.json").read_text() != state


def test_a_missing_file_is_not_looked_for_again_and_no_ray_is_started(study: Study) -> None:
    """When it is there, the set has another fingerprint."""
    (study.folder / "slides.csv").write_text("path\na.svs\ngone.svs\n")
    study.path.write_text(study.path.read_text().replace("'*.svs'", "slides.csv"))
    (failure,) = study.tile().failures
    assert failure.startswith("slide gone of patch set tissue: the file is missing")
    code = (
        "import sys, raysweep.cli\n"
        f"sys.argv = ['raysweep', 'tile', {str(study.path)!r}]\n"
        "try: raysweep.cli.main()\n"
        "except SystemExit as stop: code = stop.code\n"
        "print('loaded:', sorted({'ray', 'torch', 'optuna', 'timm'} & set(sys.modules)), code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert failure in done.stdout, done.stderr
    assert "loaded: [] 3" in done.stdout


def test_slides_without_a_study_are_tried_again_too(study: Study) -> None:
    how = {"um": 32, "px": 32, "out": study.folder / "patches", "workers": None, "progress": _QUIET}
    sources = [str(study.folder / name) for name in ("a.svs", "hurt.svs")]
    with pytest.raises(RequestError, match=r"^max_failed: stops a study"):
        tile_slides([*sources, "max_failed=1"], **how)
    _, first, failed = tile_slides(sources, **how)
    assert ([row[1] for row in first], failed) == (["done", "failed"], True)
    assert tile_slides(sources, **how)[1:] == (first, True)
    study.heal()
    _, rows, failed = tile_slides(sources, **how)
    assert ([row[1] for row in rows], failed) == (["done"] * 2, False)
    (folder,) = (study.folder / "patches").glob("*/manifest.json")
    assert pq.read_metadata(folder.parent / "shards/00000-of-00001.parquet").num_rows == 50


def test_status_shows_slides_while_a_set_is_tiled(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.heal()
    study.artefact.folder.remove()
    _, _, rows = status_rows(load_study(study.path))
    assert rows[0] == ["patch set tissue", "dead", "begun; run the study again to go on", "2/3 slides read"]
    with monkeypatch.context() as patch:
        patch.setattr("raysweep.slides.tile.slide_table", _stop)
        with pytest.raises(KeyboardInterrupt):
            study.tile()
    _, _, rows = status_rows(load_study(study.path))
    assert rows[0][3] == "3/3 slides read"
    shutil.rmtree(study.home / "spool")
    _, _, rows = status_rows(load_study(study.path))
    assert rows[0] == ["patch set tissue", "waiting", "", "0/3 slides read"]
