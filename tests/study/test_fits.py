import json
import subprocess
import sys
from pathlib import Path

import pytest

from raysweep.backbones.checkpoint import CheckpointInfo, save_checkpoint
from raysweep.backbones.create import create_backbone
from raysweep.errors import RequestError
from raysweep.storage import MANIFEST, Artefact, Storage
from raysweep.study.checkpoints import CheckpointPlan, plan_checkpoints
from raysweep.study.fits import Fits, check_fits
from raysweep.study.model import Study
from raysweep.study.tasks import TaskPlan
from raysweep.transfer import dry_run
from raysweep.transfer.decoders import DecoderChoice
from raysweep.transfer.spec import TransferSpec
from tests.transfer.tiny import make_task


@pytest.fixture(autouse=True)
def _new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSWEEP_HOME", str(tmp_path / "home"))


def _plans(folder: Path, checkpoints: dict) -> dict[str, CheckpointPlan]:
    study = Study.model_validate({"name": "s", "storage": str(folder), "checkpoints": checkpoints})
    return plan_checkpoints(study, Storage.open(folder / "s"), {}, {}, {}, folder)


def _fits(folder: Path, checkpoints: dict, *, px: int = 40, decoder: DecoderChoice = "auto") -> Fits:
    """Of a task `grade` (classification) and a task `glands` (segmentation)."""
    tasks = {}
    for name, kind in (("grade", "classification"), ("glands", "segmentation")):
        task = make_task(folder / name / str(len(list(folder.glob(f"{name}/*")))), kind, [], px=px)
        tasks[name] = TaskPlan(task, Artefact(Storage.open(folder), {"task": name}), 1)
    return check_fits(TransferSpec(decoder=decoder), _plans(folder, checkpoints), tasks)


RESNET, VIT = {"backbone": "test_resnet"}, {"backbone": "test_vit"}


def test_one_decoder_for_all_checkpoints_of_a_task(tmp_path: Path) -> None:
    assert _fits(tmp_path, {"a": RESNET}).decoders == {"glands": "unet"}
    both = _fits(tmp_path, {"a": RESNET, "b": VIT})
    assert both.decoders == {"glands": "light"}, "no U-Net for the one beside another decoder for the other"
    assert both.px == {("a", "grade"): 40, ("b", "grade"): 48, ("a", "glands"): 40, ("b", "glands"): 48}
    assert _fits(tmp_path, {"a": RESNET, "b": VIT}, decoder="fcn").decoders == {"glands": "fcn"}
    chosen = {"type": "deeplabv3", "output_stride": 8, "channels": 256}
    assert _fits(tmp_path, {"a": RESNET}, decoder=chosen).decoders == {
        "glands": {"type": "deeplabv3", "output_stride": 8}
    }


def test_a_misfit_names_checkpoint_task_and_what_to_use(tmp_path: Path) -> None:
    with pytest.raises(
        RequestError, match=r"^checkpoint b does not fit task glands: decoder unet does not fit backbone test_vit: "
    ):
        _fits(tmp_path, {"a": RESNET, "b": VIT}, decoder="unet")
    with pytest.raises(RequestError, match=r"^transfer\.decoder\.widht: light has no such option; it has width"):
        _fits(tmp_path, {"a": RESNET}, decoder={"type": "light", "widht": 3})


def test_arguments_come_from_the_study_the_card_the_chain_or_a_checkpoint_elsewhere(tmp_path: Path) -> None:
    made = {"patch_size": 14, "img_size": 28}
    elsewhere = Storage.open(tmp_path / "elsewhere")
    info = CheckpointInfo(backbone="test_vit", arguments=made, mean=(0.5,) * 3, std=(0.2,) * 3, init="random")
    save_checkpoint(elsewhere, create_backbone("test_vit", seed=0, arguments=made).state_dict(), info)
    elsewhere.write_json({"config": {"backbone": "test_vit"}, "fingerprint": "f"}, MANIFEST)
    found = _fits(
        tmp_path,
        {
            "given": {**VIT, "model_args": made},
            "below": {"init": "given"},
            "folder": {"init": str(tmp_path / "elsewhere")},
            "card": {"init": "published:uni2-h"},
        },
    )
    assert {name: px for (name, task), px in found.px.items() if task == "glands"} == {
        "given": 42, "below": 42, "folder": 42, "card": 42
    }  # fmt: skip


def test_what_was_found_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _fits(tmp_path, {"a": RESNET, "b": VIT})
    kept = json.loads((tmp_path / "home/cache/dry_runs.json").read_text())
    assert len(kept["answers"]) == 6  # two of classification, and with two decoders each of segmentation

    def never(*args: object, **keys: object) -> int:
        raise AssertionError("run again")

    monkeypatch.setattr(dry_run, "dry_run", never)
    assert _fits(tmp_path, {"a": RESNET, "b": VIT}) == first
    with pytest.raises(AssertionError, match="run again"):
        _fits(tmp_path, {"a": RESNET, "b": VIT}, px=64)


def test_laying_out_a_study_imports_torch_only_to_run_something() -> None:
    code = "import sys; import raysweep.study.plan, raysweep.study.status; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
