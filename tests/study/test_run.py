import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from raysweep.errors import RequestError
from raysweep.exclusive import _process, new_entry
from raysweep.lease import sharing
from raysweep.pretrain import trackers
from raysweep.progress import Progress
from raysweep.report.share import share_report
from raysweep.report.verify import verify
from raysweep.storage import Storage
from raysweep.study.clean import remove, unused
from raysweep.study.graph import build_graph
from raysweep.study.load import load_study
from raysweep.study.patch_sets import PatchSetPlan
from raysweep.study.plan import plan_rows
from raysweep.study.run import Outcome, run_study
from raysweep.study.speeds import Speeds
from raysweep.study.stages import Stages
from raysweep.study.status import status_rows
from tests.study.mini import results, write_mini

_QUIET = Progress(quiet=True)
_LINEAR = ["transfer.protocols.classification=[linear]", "compare.primary.protocol=linear", "tasks=[demo-tissue]"]


@pytest.fixture(scope="module")
def unrun(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    """The file of a mini study that nobody has run."""
    return write_mini(tmp_path_factory.mktemp("unrun"))


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> tuple[Path, Outcome]:
    """A finished mini study: its file and what its run said. It takes a minute and more: who asks for it is slow."""
    path = write_mini(tmp_path_factory.mktemp("mini"))
    return path, run_study(load_study(path), progress=_QUIET)


@pytest.fixture
def no_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans measure no network: `test_plan` sees to that."""
    monkeypatch.setattr(Speeds, "_network", lambda *_: None)


@pytest.mark.slow
def test_the_whole_chain_leaves_every_artefact(mini: tuple[Path, Outcome]) -> None:
    path, outcome = mini
    assert len(outcome.failures) == 1
    assert outcome.failures[0].startswith("slide broken of patch set tissue: ")
    rows = results(path.parent)
    cells = {(r["checkpoint"], r["task"], r["protocol"], r["fraction"]) for r in rows}
    assert len(cells) == 2 * 3  # two checkpoints; finetune twice and linear once
    assert sorted(r["repeat"] for r in rows) == [0] * len(cells) + [1] * len(cells)
    assert all(0 <= r["value"] <= 1 for r in rows)
    assert {r["n_test_units"] for r in rows} == {24}
    home = path.parent / "runs/mini"
    assert (home / "report/index.html").stat().st_size > 5000
    current = (home / "checkpoints/supervised/current").read_text().strip()
    assert (home / "checkpoints/supervised" / current / "backbone.safetensors").is_file()
    for row in rows:
        assert (home / row["folder"] / row["predictions"]).is_file()
    thumbnails = pq.read_table(next((home / "tasks/demo-glands").glob("*/thumbnails-0.parquet")))
    masks = {str(p.relative_to(home)): p for p in home.glob("cells/**/masks/*.parquet")}
    assert all("/demo-glands/" in name and name.endswith("/0/masks/demo-glands.parquet") for name in masks)
    assert len(masks) == 2, "repeat 0 of each checkpoint"
    for path in masks.values():  # of the same images
        assert pq.read_table(path)["sample"].to_pylist() == thumbnails["sample"].to_pylist()
    assert len(list((home / "tasks/demo-tissue").glob("*/thumbnails-0.parquet"))) == 1
    inits = {p.read_bytes() for p in (home / "checkpoints/random").rglob("backbone.safetensors")}
    assert len(inits) == 2, "a random init is drawn for each repeat"
    [recorded] = json.loads((home / "compare.json").read_text())
    assert recorded["compare"]["baseline"] == "random"


@pytest.mark.slow
def test_every_number_can_be_recomputed_and_given_away(mini: tuple[Path, Outcome], tmp_path: Path) -> None:
    home = Storage.open(mini[0].parent / "runs/mini")
    found = verify(home.root)
    assert found.differences == []
    assert found.n_files == 2 * 3 * 2
    share_report(home, Storage.open(tmp_path / "copy"))
    assert verify(tmp_path / "copy").differences == []
    predictions = next((tmp_path / "copy/cells").rglob("predictions/*.parquet"))
    assert all(name.startswith("unit ") for name in pq.read_table(predictions)["unit"].to_pylist())


@pytest.mark.slow
@pytest.mark.usefixtures("no_times")
def test_a_misfit_is_refused_before_anything_starts(mini: tuple[Path, Outcome]) -> None:
    wrong = ["name=misfit", "checkpoints.vit.backbone=test_vit", "transfer.decoder=unet"]
    file = load_study(mini[0], wrong)
    sentence = r"^checkpoint vit does not fit task demo-glands: decoder unet .* strides are 16, 16.*; use light, which"
    for work in (run_study, plan_rows, status_rows):
        with pytest.raises(RequestError, match=sentence):
            work(file)
    assert not list((mini[0].parent / "runs/misfit").rglob("*.json"))
    notes = plan_rows(load_study(mini[0], wrong[:2]))[2]
    assert "task demo-glands: decoder light for every checkpoint" in notes


@pytest.mark.slow
def test_no_artefact_says_where_it_was_made(mini: tuple[Path, Outcome]) -> None:
    path, _ = mini
    home = path.parent / "runs/mini"
    rooms = [p for p in home.iterdir() if p.is_dir()]
    seen = 0
    for file in (f for room in rooms for f in room.rglob("*") if f.is_file()):
        said = file.read_bytes()
        if file.suffix == ".parquet":
            said = json.dumps(pq.read_table(file).to_pylist(), default=str).encode()
        assert str(path.parent).encode() not in said, file
        seen += 1
    assert seen > 50


@pytest.mark.slow
@pytest.mark.usefixtures("no_times")
def test_a_run_goes_on_after_data_and_artefacts_have_moved(mini: tuple[Path, Outcome], tmp_path: Path) -> None:
    """From a laptop to a cluster: nothing is made again, and what is new reads the new place."""
    old = mini[0].parent
    shutil.copytree(old, tmp_path / "moved")
    for file in ("mini.yaml", "slides.csv"):
        text = (old / file).read_text().replace(str(old), str(tmp_path / "moved"))
        (tmp_path / "moved" / file).write_text(text)
    moved = load_study(tmp_path / "moved/mini.yaml", ["transfer.repeats=3", *_LINEAR])
    os.rename(old / "data", old / "data-away")
    try:
        _, plan, _ = plan_rows(moved)
        assert {row[2] for row in plan if row[1].startswith(("patch set", "checkpoint supervised"))} == {"exists"}
        assert {row[2] for row in plan if row[1].startswith("cell")} == {"in part"}
        outcome = run_study(moved, progress=_QUIET)
    finally:
        os.rename(old / "data-away", old / "data")
    assert len(outcome.failures) == 1
    kept = [r for r in results(tmp_path / "moved") if r["repeat"] < 2]
    assert kept == [r for r in results(old) if r["protocol"] == "linear"]
    assert {r["repeat"] for r in results(tmp_path / "moved")} == {0, 1, 2}


@pytest.mark.slow
def test_a_second_run_starts_no_ray_and_says_the_same(mini: tuple[Path, Outcome]) -> None:
    path, _ = mini
    code = (
        "import sys, raysweep.cli\n"
        f"sys.argv = ['raysweep', 'run', {str(path)!r}]\n"
        "try: raysweep.cli.main()\n"
        "except SystemExit as stop: code = stop.code\n"
        "print('loaded:', sorted({'ray', 'torch', 'optuna', 'timm'} & set(sys.modules)))\n"
        "sys.exit(code)"
    )
    before = results(path.parent)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr  # a slide failed, and still does
    assert "failed: slide broken of patch set tissue" in done.stdout
    assert "report/index.html" in done.stdout
    assert "loaded: []" in done.stdout
    assert results(path.parent) == before


@pytest.mark.slow
@pytest.mark.usefixtures("no_times")
def test_status_and_plan_say_that_all_is_there(mini: tuple[Path, Outcome]) -> None:
    file = load_study(mini[0])
    headline, _, rows = status_rows(file)
    assert "nobody is running it" in headline
    states = {row[0]: row[1] for row in rows}
    assert states.pop("  slide broken") == "failed"
    details = {row[3] for row in rows if "/ linear /" in row[0]}
    assert details == {"2/2 repeats, no trials"}
    assert set(states.values()) == {"done"}
    _, plan, notes = plan_rows(file)
    assert {row[2] for row in plan} == {"exists"}
    assert any("to search: 0 trials" in note for note in notes)
    assert not any(note.startswith("budget") for note in notes)
    _, plan, notes = plan_rows(load_study(mini[0], ["transfer.trials=3", "transfer.budget=full"]))
    assert "budget full: 2 repeats of 3 trials of 4 steps, each with 2 evaluations" in notes
    finetune = [row for row in plan if row[1].startswith("cell") and "linear" not in row[1]]
    assert {row[2] for row in finetune} == {"to do"}
    assert any("to search: 24 trials" in note for note in notes)
    _, plan, notes = plan_rows(load_study(mini[0], ["transfer.repeats=3"]))
    assert {row[2] for row in plan if row[1].startswith("cell")} == {"in part"}
    assert any("to search: 8 trials" in note for note in notes)
    assert [row[3] for row in plan if "/ linear /" in row[1]] == ["1 repeat: no trials, 1 final"] * 2
    _, plan, notes = plan_rows(load_study(mini[0], ["transfer.steps=5", "transfer.evaluations=1"]))
    assert {row[1].split(" / ")[2]: row[2] for row in plan if row[1].startswith("cell")} == {
        "finetune": "to do",
        "linear": "exists",
    }


@pytest.mark.slow
def test_a_changed_key_remakes_what_depends_on_it_beside_the_old(mini: tuple[Path, Outcome]) -> None:
    path, _ = mini
    home = path.parent / "runs/mini"
    kept = {
        p: p.stat().st_mtime_ns for room in ("patches", "checkpoints") for p in (home / room).rglob("manifest.json")
    }
    old = results(path.parent)
    changed = load_study(path, ["transfer.spaces.linear_classification.C=0.5", *_LINEAR])
    outcome = run_study(changed, progress=_QUIET)
    assert len(outcome.failures) == 1
    assert len(results(path.parent)) == 4
    assert all(p.stat().st_mtime_ns == t for p, t in kept.items())
    assert len(list((home / "cells/random/demo-tissue/linear/0.5").glob("*/*/manifest.json"))) == 4
    page = (home / "report/index.html").read_text()
    assert "compare.primary.protocol was finetune" in page, "a comparison that was changed afterwards says so"
    found = [p for p, _ in unused(changed)]
    assert sorted("/".join(p.split("/")[:5]) for p in found if p.startswith("cells/random")) == [
        *["cells/random/demo-glands/finetune/0.5"] * 2,
        *["cells/random/demo-tissue/finetune/0.5"] * 2,
        *["cells/random/demo-tissue/linear/0.5"] * 2,
    ]
    assert not any(p.startswith(("patches/", "checkpoints/", "features/", "spool/")) for p in found)
    with pytest.raises(RequestError, match="the study uses this folder"):
        remove(changed, ["patches"])
    run_study(load_study(path), progress=_QUIET)  # as it was: nothing is searched again
    assert results(path.parent) == old
    remove(load_study(path), [p for p, _ in unused(load_study(path))])
    assert not unused(load_study(path))
    assert results(path.parent) == old


def test_a_second_run_at_the_same_time_is_refused(unrun: Path) -> None:
    home = Storage.open(unrun.parent / "runs/mini")
    lease = new_entry() | {"pid": os.getppid(), "process": _process(os.getppid()), "since": "now", "beat": 0}
    home.write_json(lease, "lease.json")
    try:
        with pytest.raises(RequestError, match=f"being run by process {os.getppid()}"):
            run_study(load_study(unrun), progress=_QUIET)
    finally:
        home.remove("lease.json")


@pytest.mark.slow
def test_a_run_that_waited_while_another_one_tiled_looks_again(
    mini: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made from a patch set is named after what is in it."""
    file = load_study(mini[0])
    with monkeypatch.context() as earlier:  # when nothing was tiled
        earlier.setattr(PatchSetPlan, "contents", property(lambda plan: plan.artefact.fingerprint))
        graph = build_graph(file)
    with ExitStack() as stack, sharing(graph.home) as claims:
        run = Stages(graph, None, _QUIET, stack, claims, some_stages=False)
        run.tile()
    before, after, now = (
        [a.folder.root for plan in g.checkpoints.values() for a in plan.artefacts]
        for g in (graph, run.graph, build_graph(file))
    )
    assert after == now != before


@pytest.mark.slow
def test_a_run_with_other_keys_waits_for_those_that_share_the_study(mini: tuple[Path, Outcome]) -> None:
    with sharing(Storage.open(mini[0].parent / "runs/mini")):
        with pytest.raises(
            RequestError, match=rf"process {os.getpid()} on .* runs this study with another transfer; wait"
        ):
            run_study(load_study(mini[0], ["transfer.trials=3"]), progress=_QUIET)
        outcome = run_study(load_study(mini[0], ["compute.threads=1"]), progress=_QUIET)
    assert outcome.report is not None
    assert outcome.others == []


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("tasks=[demo-tisue]", "demo-tissue"),
        ("checkpoints.supervised.init=nosuch", "init nosuch is neither"),
        ("patches.tissue.slides=gone.csv", r"patches\.tissue: .*gone\.csv"),
        ("transfer.protocols.segmentation=[finetune,linear]", "linear cannot do segmentation"),
        ("transfer.fractions=[0.01]", "leaves class"),
        ("compare.baseline=imagenet", r"compare\.baseline: imagenet is not a checkpoint"),
        ("compare.primary.protocol=svm", r"compare\.primary\.protocol: svm is not among"),
        ("compare.primary.metric=f1", r"compare\.primary\.metric: f1 scores no task of this study; these do: accuracy"),
        ("compare.primary.metric=pq", r"compare\.primary\.metric: pq needs counts .* metrics of card demo-glands"),
        ("tasks=[glas-grade]", "its licence .* is not accepted yet"),
        ("data=null", "data is not set"),
        ("storage=/proc/nowhere", "cannot be written"),
    ],
)
def test_a_bad_study_is_refused_before_anything_starts(
    unrun: Path, override: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSWEEP_HOME", str(tmp_path / "home"))
    storage = [] if override.startswith("storage") else [f"storage={tmp_path / 'runs'}"]
    with pytest.raises(RequestError, match=sentence) as caught:
        run_study(load_study(unrun, [override, *storage]), progress=_QUIET)
    assert "\n" not in str(caught.value)
    left = list((tmp_path / "runs").rglob("*"))
    assert not [p for p in left if p.is_file()], "nothing may have been started"


def test_a_tracker_that_is_not_installed_is_refused_before_a_pretraining_and_asked_for_by_no_other_stage(
    unrun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    asked = load_study(unrun, ["compute.trackers=[mlflow]", f"storage={tmp_path}"])
    with pytest.raises(RequestError, match=r"compute\.trackers: mlflow is not installed; .*'raysweep\[mlflow\]'"):
        run_study(asked, progress=_QUIET)
    assert not list((tmp_path / "mini").glob("*"))
    run_study(load_study(unrun, ["compute.trackers=[mlflow]"]), stages=["report"], progress=_QUIET)


def test_a_stage_alone_wants_what_it_reads(unrun: Path, tmp_path: Path) -> None:
    fresh = load_study(unrun, [f"storage={tmp_path}"])
    with pytest.raises(RequestError, match="patch set tissue is not there yet; run `raysweep tile`"):
        run_study(fresh, stages=["pretrain"], only="supervised", progress=_QUIET)
    with pytest.raises(RequestError, match=r"checkpoint .* is not there yet; run `raysweep pretrain`"):
        run_study(fresh, stages=["tune"], progress=_QUIET)
    with pytest.raises(RequestError, match="--only nothing"):
        run_study(fresh, stages=["tile"], only="nothing", progress=_QUIET)
    outcome = run_study(fresh, stages=["report"], progress=_QUIET)
    assert outcome.report
    assert outcome.report.exists("index.html"), "a report of nothing says that there is nothing"


def test_a_chain_may_be_written_before_what_it_starts_from(unrun: Path, tmp_path: Path) -> None:
    study = yaml.safe_load(unrun.read_text())
    study["checkpoints"] = {"later": {"init": "first"}, "first": {"backbone": "resnet10t"}}
    study |= {"storage": str(tmp_path), "patches": {}, "compare": {"baseline": "first"}}
    (tmp_path / "chain.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    outcome = run_study(load_study(tmp_path / "chain.yaml"), stages=["pretrain"], progress=_QUIET)
    assert outcome.failures == []
    assert len(list((tmp_path / "mini/checkpoints/later").glob("*/manifest.json"))) == 2


def test_a_checkpoint_that_cannot_be_made_is_recorded_and_the_others_are_made(
    unrun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published weights cannot be fetched without a network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    published = "checkpoints.supervised={backbone: resnet18.a1_in1k, init: timm, method: null, patches: null}"
    study = load_study(unrun, [f"storage={tmp_path}", published])
    [failure] = [
        line for line in run_study(study, stages=["pretrain"], progress=_QUIET).failures if "slide" not in line
    ]
    assert failure.startswith("checkpoint supervised: ")
    assert list((tmp_path / "mini/checkpoints/random").glob("*/backbone.safetensors"))
