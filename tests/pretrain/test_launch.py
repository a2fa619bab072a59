import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import timm
import torch
from rich.console import Console
from safetensors.torch import load

from raysweep.backbones.checkpoint import FILE, load_checkpoint, read_info
from raysweep.backbones.create import create_backbone
from raysweep.errors import RequestError, WorkError
from raysweep.pretrain import fit
from raysweep.pretrain.inputs import checkpoint_inputs
from raysweep.pretrain.launch import pretrain
from raysweep.pretrain.source import SourceInput
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.pretrain.team import Team
from raysweep.progress import Progress
from raysweep.storage import MANIFEST, Artefact, Storage
from tests.pretrain import ranks


def artefact_of(home: Path, spec: CheckpointSpec, **keys) -> Artefact:
    inputs = {"seed": 0, "pretraining_seed": 0, "init": "random", "patches": "abc" if spec.method else None, **keys}
    return Artefact(Storage.open(home), checkpoint_inputs(spec, **inputs))


def make(spec: CheckpointSpec, artefact: Artefact, *, patches=None, init=None, progress=None, seed=0, **team) -> None:
    pretrain(
        spec, artefact, name="toy", init=init, sources=[SourceInput("p", patches)] if patches else [], seed=0,
        pretraining_seed=seed, team=Team(**{"workers": 2, **team}), progress=progress or Progress(quiet=True),
    )  # fmt: skip


def test_an_init_alone_is_written_without_ray(tmp_path):
    spec = CheckpointSpec(backbone="test_resnet", licence="CC0")
    artefact = artefact_of(tmp_path, spec)
    make(spec, artefact, seed=4)
    assert artefact.done()
    assert artefact.folder.names() == [FILE, MANIFEST]
    info = read_info(artefact.folder)
    assert (info.init, info.method, info.licence, info.pretraining_seed) == ("random", None, "CC0", 4)
    first = artefact.folder.read_bytes(FILE)
    make(spec, artefact, seed=4)
    assert artefact.folder.read_bytes(FILE) == first
    make(spec, artefact, seed=5)
    assert artefact.folder.read_bytes(FILE) != first


def test_a_checkpoint_of_a_checkpoint_keeps_weights_and_lineage(tmp_path):
    spec = CheckpointSpec(backbone="test_resnet")
    parent = artefact_of(tmp_path / "parent", spec)
    make(spec, parent)
    child_spec = CheckpointSpec(init="parent")
    child = artefact_of(tmp_path / "child", child_spec, init=parent.fingerprint)
    seen = pa.table({"source": ["s"], "id": ["a"], "unit": ["p"], "hash": ["1-a"], "labels": [True]})
    parent.folder.write_table(seen, "sources.parquet")
    make(child_spec, child, init=parent.folder)
    assert child.folder.read_table("sources.parquet").to_pylist() == seen.to_pylist(), "it goes on down the chain"
    info = read_info(child.folder)
    assert info.init == f"checkpoint:{parent.fingerprint}"
    assert [p["init"] for p in info.parents] == ["random"]
    assert info.backbone == "test_resnet"
    a, b = load_checkpoint(parent.folder)[0].state_dict(), load_checkpoint(child.folder)[0].state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_what_a_file_lacks_is_said_and_recorded(tmp_path):
    state = timm.create_model("test_resnet", num_classes=3).state_dict()
    del state["layer1.0.bn1.running_var"]
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "file.pth")
    spec = CheckpointSpec(
        backbone="test_resnet", init=str(tmp_path / "file.pth"), allow_missing=["layer1.0.bn1.*"], seen=["TCGA"]
    )
    artefact = artefact_of(tmp_path, spec, init="file:1")
    out = io.StringIO()
    make(spec, artefact, progress=Progress(Console(file=out, width=400)))
    counts = artefact.manifest()["counts"]
    assert sorted(counts["dropped_keys"]) == ["state_dict.module.fc.bias", "state_dict.module.fc.weight"]
    assert counts["missing_keys"] == ["layer1.0.bn1.running_var"]
    assert counts["stray_keys"] == []
    assert read_info(artefact.folder).sources == ["file:file.pth", "TCGA"]
    assert "2 keys dropped" in out.getvalue()
    assert "missing" in out.getvalue()
    assert "layer1.0.bn1.running_var" in out.getvalue()


def test_what_was_done_to_a_file_is_said(tmp_path):
    grey = timm.create_model("test_resnet", num_classes=0, in_chans=1)
    torch.save(grey.state_dict(), tmp_path / "grey.pth")
    spec = CheckpointSpec(backbone="test_resnet", init=str(tmp_path / "grey.pth"))
    out = io.StringIO()
    make(spec, artefact_of(tmp_path, spec, init="file:1"), progress=Progress(Console(file=out, width=400)))
    assert "grey.pth: conv1.0.weight" in out.getvalue()
    assert "resampled to" in out.getvalue()


@pytest.mark.parametrize(
    ("keys", "classes", "says"),
    [
        ({"batch": 512}, ("a", "b"), "batch: 512 patches make a step but there are only 40"),
        ({"batch": 8}, (), "give the slide table a label column"),
        ({"batch": 8, "options": {"labels": 1}}, ("a", "b"), "options.labels: .*no such option"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_ray_is_asked(keys, classes, says, tmp_path, make_set):
    spec = CheckpointSpec.model_validate({"backbone": "test_resnet", "method": "supervised", "patches": "p", **keys})
    with pytest.raises(RequestError, match=says):
        make(spec, Artefact(Storage.open(tmp_path), {"a": 1}), patches=make_set(40, classes))


SPEC = CheckpointSpec(
    backbone="test_resnet", method="supervised", patches="p", epochs=2, batch=32, lr=0.05, optimizer="sgd"
)


def undisturbed(folder: Path, patches: Storage, spec: CheckpointSpec, pair) -> Storage:
    """The same training by the gloo pair, without Ray."""
    from raysweep.randomness import stable_hash

    initial = artefact_of(folder / "start", CheckpointSpec(backbone=spec.backbone))
    make(CheckpointSpec(backbone=spec.backbone), initial)
    work = ranks.job(
        Storage.open(folder / "out"),
        patches,
        **spec.model_dump(include={"backbone", "method", "epochs", "batch", "lr", "optimizer"}),
    )
    work = replace(work, start=initial.folder, seed=stable_hash(0, "pretraining", 0))
    pair.run("run", work)
    return work.out


def same_weights(one: Storage, other: Storage) -> bool:
    a, b = load(one.read_bytes(FILE)), load(other.read_bytes(FILE))
    return all(torch.equal(a[name], b[name]) for name in a) and a.keys() == b.keys()


@pytest.mark.slow
def test_train_makes_a_checkpoint(tmp_path, patch_set, pair, ray_session, capfd):
    """Ray Train with two workers: what it leaves, what it shows, and the weights of two ranks without Ray."""
    artefact = artefact_of(tmp_path / "ray", SPEC)
    out = io.StringIO()
    capfd.readouterr()
    make(SPEC, artefact, patches=patch_set, progress=Progress(Console(file=out, width=200)))
    noise = capfd.readouterr()
    assert noise.out == ""
    assert "Train" not in noise.err

    assert artefact.done()
    assert artefact.folder.names() == [FILE, MANIFEST, "metrics.jsonl", "sources.parquet", "tensorboard"]
    manifest = artefact.manifest()
    assert manifest["counts"]["epochs"] == 2
    assert manifest["counts"]["images"] == 2 * 288
    assert manifest["timings"]["epochs_seconds"] > 0
    assert manifest["config"]["training"]["options"]["crop"] == 0.8
    lines = [json.loads(line) for line in artefact.folder.read_bytes("metrics.jsonl").splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert "epoch 2 · loss" in out.getvalue()

    model, info = load_checkpoint(artefact.folder)
    assert (info.backbone, info.method, info.epochs, info.init, info.px) == (
        "test_resnet", "supervised", 2, "random", 32,
    )  # fmt: skip
    assert info.mpp == pytest.approx(0.5 * 2 / 3 * (1 - 0.8**1.5) / 0.2)  # crops of 80-100 % of the area
    assert set(info.sources) >= {"s0", "s1", "s2", "s3"}
    assert len(info.patches or "") == 32
    loaded = timm.create_model("test_resnet", checkpoint_path=artefact.folder.path(FILE), num_classes=0).eval()
    picture = torch.rand(1, 3, 32, 32)
    assert torch.equal(loaded(picture), model(picture))
    start = create_backbone("test_resnet", seed=0)
    assert not torch.equal(start.state_dict()["conv1.0.weight"], model.state_dict()["conv1.0.weight"])

    assert same_weights(artefact.folder, undisturbed(tmp_path, patch_set, SPEC, pair))


@pytest.mark.parametrize(("address", "asked"), [(None, False), ("local", False), ("10.0.0.1:6379", True)])
def test_only_on_a_cluster_a_dashboard_is_asked_for_the_controller(address, asked, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    callbacks = fit._Trainer(lambda: None)._create_default_callbacks()
    assert ("PlacementGroupCleanerCallback" in {type(one).__name__ for one in callbacks}) is asked


@pytest.mark.long
def test_what_ends_a_training_is_said_and_nothing_is_left_complete(tmp_path, patch_set, ray_session):
    """A rate at which it diverges; `test_reader` and `test_loop` have what else ends one."""
    wild = SPEC.model_copy(update={"lr": 1e12, "warmup": 0.0})
    artefact = artefact_of(tmp_path / "wild", wild)
    with pytest.raises(WorkError, match=r"^diverged at step \d+: .* try lr below 1e\+12"):
        make(wild, artefact, patches=patch_set)
    assert not artefact.done()


def test_ray_data_without_cpus_is_refused(tmp_path, patch_set, ray_session):
    artefact = artefact_of(tmp_path, SPEC)
    with pytest.raises(RequestError, match=r"compute.loader: data needs two free CPUs for each worker, but .* 2 are"):
        make(SPEC, artefact, patches=patch_set, workers=2, loader="data")


def test_workers_that_do_not_fit_are_refused(tmp_path, patch_set, ray_session):
    artefact = artefact_of(tmp_path, SPEC)
    with pytest.raises(RequestError, match=r"compute.workers: 8 workers of 1 CPUs each do not fit the 4"):
        make(SPEC, artefact, patches=patch_set, workers=8)
    with pytest.raises(RequestError, match="batch: 32 patches cannot be shared by 3 workers"):
        make(SPEC, artefact, patches=patch_set, workers=3)
