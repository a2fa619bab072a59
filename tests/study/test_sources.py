"""Labelled sets as sources of a study's checkpoints."""

import shutil
from pathlib import Path

import pytest
import yaml

from raysweep.errors import RequestError
from raysweep.patches.read import PatchSet
from raysweep.patches.write import contents
from raysweep.pretrain.source import SourceInput
from raysweep.progress import Progress
from raysweep.storage import Storage
from raysweep.study import run, stages
from raysweep.study.clean import unused
from raysweep.study.graph import build_graph
from raysweep.study.load import load_study
from raysweep.study.plan import plan_rows
from raysweep.study.speeds import Speeds
from raysweep.study.status import status_rows
from tests.drawn import copy_sets

_QUIET = Progress(quiet=True)
_SIMCLR = {"backbone": "resnet10t", "method": "simclr", "batch": 16}
_STUDY = {
    "name": "pool",
    "storage": "runs",
    "data": "data",
    "checkpoints": {
        "random": {"backbone": "resnet10t"},
        "glands": {**_SIMCLR, "patches": "demo-glands"},
        "tissue": {"init": "glands", **_SIMCLR, "patches": "demo-tissue"},
    },
    "tasks": ["demo-tissue"],
    "transfer": {"repeats": 1, "fractions": [1.0]},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    copy_sets(folder)
    return folder


@pytest.fixture
def study(tmp_path: Path, data: Path) -> Path:
    keys = _STUDY | {"storage": str(tmp_path / "runs"), "data": str(data)}
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump(keys))
    return tmp_path / "pool.yaml"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[SourceInput]]:
    """What each checkpoint was to be trained on; the training itself is left out."""
    found: dict[str, list[SourceInput]] = {}

    def make(checkpoint, pretraining, study, progress, *, name) -> None:
        found[checkpoint.name] = checkpoint.sources_of(pretraining)
        assert all(source.folder.exists("manifest.json") for source in found[checkpoint.name])
        pretraining.artefact.commit(config={"backbone": checkpoint.spec.backbone}, counts={}, timings={})

    monkeypatch.setattr(stages, "make_checkpoint", make)
    return found


def _pretrain(study: Path, *overrides: str, only: str | None = None) -> list[str]:
    return run.run_study(load_study(study, overrides), stages=["pretrain"], only=only, progress=_QUIET).failures


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_sources_are_written_before_the_checkpoints_that_need_them(
    study: Path, made: dict[str, list[SourceInput]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Speeds, "_network", lambda *_: None)  # it would bring torch
    before = {row[1]: row[2:4] for row in plan_rows(load_study(study))[1]}
    assert before["source demo-glands"] == ["to do", "144 images"]
    assert before["checkpoint glands"] == ["to do", "100 epochs of about 144 patches"]
    assert not _pretrain(study, only="glands")
    assert list(made) == ["glands"]
    home = Storage.open(tmp_path / "runs/pool")
    assert home.names("patches") == ["demo-glands"]
    assert not _pretrain(study)
    assert list(made) == ["glands", "random", "tissue"]
    [glands], [tissue] = made["glands"], made["tissue"]
    for source, counted, seen in ((glands, 144, 96), (tissue, 168, 96)):
        assert (source.weight, source.fold) == (None, None)
        assert PatchSet(source.folder).n_patches == counted
        allowed = source.allowed(0)
        assert allowed is not None
        assert len(allowed) == seen, "the train part of the official split"
        current = home.read_bytes("patches", source.name, "current").decode().strip()
        assert source.folder.root == home.path("patches", source.name, current)
    made.clear()
    assert not _pretrain(study)
    shutil.copytree(data, tmp_path / "moved")
    assert not _pretrain(study, f"data={tmp_path / 'moved'}")
    assert not made, "where the images are is no part of what they are"
    _, _, rows = status_rows(load_study(study))
    assert {row[0]: row[1:] for row in rows}["source demo-glands"] == [
        "done", "", "144 patches of 144 images, 0 failed, 0 skipped",
    ]  # fmt: skip
    after = {row[1]: row[2:4] for row in plan_rows(load_study(study))[1]}
    assert after["source demo-tissue"] == ["exists", "168 patches"]
    assert not unused(load_study(study))
    less = load_study(study, ["checkpoints.glands.patches=demo-tissue"])
    found = {path.rpartition("/")[0] for path, _ in unused(less)}
    assert found == {"patches/demo-glands", "tasks/demo-glands", "checkpoints/glands", "checkpoints/tissue"}


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_an_image_that_fails_is_told_and_tried_again(
    study: Path, made: dict[str, list[SourceInput]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made from a source follows what is in it, as with a slide that failed."""
    shutil.copytree(data, tmp_path / "data")
    images = tmp_path / "data/demo-glands/images"
    first, second = sorted(images.iterdir())[:2]
    second.write_bytes(b"no picture")  # the index leaves it out
    real = stages.make_source

    def late(source, **how) -> None:  # the file goes between indexing and writing
        if first.exists():
            first.rename(tmp_path / "away.png")
        real(source, **how)

    keys = [f"data={tmp_path / 'data'}", "checkpoints.tissue={init: glands}"]
    with monkeypatch.context() as patch:
        patch.setattr(stages, "make_source", late)
        failed = _pretrain(study, *keys)
    assert len(failed) == 2
    assert failed[0].startswith(f"image images/{first.name} of source demo-glands: FileNotFoundError")
    assert failed[1].startswith(f"image images/{second.name} of source demo-glands: the image cannot be read")
    [source] = made["glands"]
    without = contents(source.folder)
    (tmp_path / "away.png").rename(first)
    rows = {row[0].strip(): row[1:3] for row in status_rows(load_study(study, keys))[2]}
    assert rows["source demo-glands"] == ["done", "the next run tries the images that failed again"]
    assert rows[f"image images/{first.name}"][0] == "failed"
    assert rows[f"image images/{second.name}"][0] == "skipped"
    made.clear()
    [left_out] = _pretrain(study, *keys)
    assert second.name in left_out
    [source] = made["glands"]
    assert contents(source.folder) != without


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["checkpoints.glands.patches=demo-gland"], "checkpoints.glands: patches demo-gland is neither .* nor a card"),
        (["checkpoints.glands.patches=demo-tisue"], "did you mean demo-tissue"),
        (["checkpoints.glands.patches=glas-glands"], "task glas-glands: its licence .* is not accepted yet"),
        (["tasks=[]", "data=null"], "data is not set; task demo-glands needs"),
        (["patches={demo-tissue: {slides: a.csv, um: 1, px: 16}}"], "patches.demo-tissue: a task .* the same name"),
        (["checkpoints.glands.patches={demo-glands: 0}"], "checkpoints.glands: patches.demo-glands: .* above 0"),
    ],
)
def test_a_source_that_cannot_be_is_one_sentence(
    study: Path, overrides: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAYSWEEP_HOME", str(tmp_path / "home"))
    (tmp_path / "a.csv").write_text("slide,path\na,a.svs\n")
    with pytest.raises(RequestError, match=sentence) as caught:
        build_graph(load_study(study, overrides))
    assert "\n" not in str(caught.value)


def test_a_card_beside_the_study_is_a_source_and_a_patch_set_comes_first(study: Path, tmp_path: Path) -> None:
    card = yaml.safe_load((Path(run.__file__).parents[2] / "datasets/demo-glands.yaml").read_text())
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(card | {"name": "own", "px": 16}))
    graph = build_graph(load_study(study, ["checkpoints.glands.patches=own"]))
    assert list(graph.sources) == ["own", "demo-tissue"]
    assert [source.tested for source in graph.sources.values()] == [False, True]
    assert graph.checkpoints["glands"].labelled_sets == ["own"]
    (tmp_path / "slides.csv").write_text("slide,path\na,a.svs\n")
    named = ["checkpoints.glands.patches=own", "patches={own: {slides: slides.csv, um: 64, px: 32}}"]
    graph = build_graph(load_study(study, named))
    assert list(graph.sources) == ["demo-tissue"]
    assert graph.checkpoints["glands"].patch_sets == ["own"]
