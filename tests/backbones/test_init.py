import os
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from raysweep.backbones.checkpoint import save_checkpoint
from raysweep.backbones.create import create_backbone
from raysweep.backbones.given import Given
from raysweep.backbones.init import check_init, init_identity, initial_weights
from raysweep.errors import RequestError, WorkError
from raysweep.storage import Storage

NAME = "test_resnet"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """A trained backbone's weights, as somebody else has them."""
    return create_backbone(NAME, seed=99).state_dict()


@pytest.mark.parametrize(
    ("init", "backbone", "says"),
    [
        ("timm", "resnet18", r"full tag.*known: .*resnet18\.tv_in1k"),
        ("timm", "resnet18.nobodys", "no weights tagged nobodys"),
        ("timm", None, "give backbone"),
        ("random", None, "give backbone"),
        ("random", "resnet_18", "timm has no such model"),
        ("hf-hub:", None, "name the weights"),
        ("none/such.pth", "resnet18", "there is no such file"),
        ("imagenett", "resnet18", "neither random, timm"),
    ],
)
def test_bad_inits_are_refused(init, backbone, says):
    with pytest.raises(RequestError, match=says):
        check_init(init, backbone)


def test_good_inits():
    check_init("random", "resnet18")
    check_init("timm", "resnet18.tv_in1k")
    check_init("hf-hub:timm/resnet18.a1_in1k", None)


def test_random_is_a_function_of_the_seed():
    one = initial_weights("random", NAME, seed=1)
    assert one.info.init == "random"
    assert one.info.sources == []
    again, other = initial_weights("random", NAME, seed=1), initial_weights("random", NAME, seed=2)
    assert torch.equal(one.weights["conv1.0.weight"], again.weights["conv1.0.weight"])
    assert not torch.equal(one.weights["conv1.0.weight"], other.weights["conv1.0.weight"])


def test_a_momentum_file_is_read_and_what_does_not_fit_is_named(state, tmp_path):
    """MoCo's layout: the trained branch, its momentum copy, a projection, and one key too few."""
    content = {f"module.encoder_q.{k}": v for k, v in state.items()}
    content |= {f"module.encoder_k.{k}": v + 1 for k, v in state.items()}
    content["module.encoder_q.fc.0.weight"] = torch.zeros(8, 8)
    missing = next(k for k in state if k.endswith("running_mean"))
    del content[f"module.encoder_q.{missing}"]
    file = tmp_path / "moco.pth.tar"
    torch.save({"epoch": 9, "arch": NAME, "state_dict": content}, file)
    with pytest.raises(RequestError, match=rf"1 of the \d+ parameters .* are not in it \({missing}\); .*allow_missing"):
        initial_weights(str(file), NAME, seed=5)
    allowed = Given(allow_missing=["conv1.*.running_*"])
    initial = initial_weights(str(file), NAME, seed=5, licence="CC0", given=allowed)
    assert initial.info.allow_missing == ["conv1.*.running_*"]
    assert initial.missing == [missing]
    assert "state_dict.module.encoder_q.fc.0.weight" in initial.dropped
    assert len(initial.dropped) == 1 + len(state)
    drawn = create_backbone(NAME, seed=5).state_dict()
    for name, value in initial.weights.items():
        assert torch.equal(value, drawn[name] if name == missing else state[name])
    assert initial.info.licence == "CC0"
    assert initial.info.sources == ["file:moco.pth.tar"]
    assert initial.info.init.startswith("file:moco.pth.tar:")


def test_a_classifiers_file_loses_its_classifier(tmp_path):
    whole = timm.create_model(NAME, num_classes=7)
    save_file(whole.state_dict(), tmp_path / "classifier.safetensors")
    initial = initial_weights(str(tmp_path / "classifier.safetensors"), NAME, seed=0)
    assert sorted(initial.dropped) == ["fc.bias", "fc.weight"]
    assert initial.missing == []


def test_the_file_of_another_model_is_refused(tmp_path):
    torch.save(create_backbone("test_vit", seed=0).state_dict(), tmp_path / "vit.pth")
    with pytest.raises(
        RequestError, match=r"only 0 of the \d+ parameters and statistics of test_resnet are in it .*name the backbone"
    ):
        initial_weights(str(tmp_path / "vit.pth"), NAME, seed=0)


class Trap:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_a_strangers_objects_are_never_unpickled(state, tmp_path):
    torch.save({"state_dict": state, "args": Trap(tmp_path / "trace")}, tmp_path / "trap.pth")
    with pytest.raises(RequestError, match="holds Python objects besides tensors"):
        initial_weights(str(tmp_path / "trap.pth"), NAME, seed=0)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
def test_a_damaged_file(name, tmp_path):
    (tmp_path / name).write_bytes(b"PK\x03\x04 not quite")
    with pytest.raises((WorkError, RequestError), match=r"cut\."):
        initial_weights(str(tmp_path / name), NAME, seed=0)


def test_a_file_of_one_tensor(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(RequestError, match="holds a Tensor"):
        initial_weights(str(tmp_path / "tensor.pth"), NAME, seed=0)


def test_from_a_checkpoint(state, tmp_path):
    folder = Storage.open(tmp_path)
    info = initial_weights("random", NAME, seed=0).info.model_copy(update={"mpp": 0.5, "sources": ["s1"]})
    save_checkpoint(folder, state, info)
    initial = initial_weights("simclr", None, seed=0, parent=folder)
    assert initial.info == info
    assert torch.equal(initial.weights["conv1.0.weight"], state["conv1.0.weight"])
    with pytest.raises(RequestError, match="backbone resnet18: the checkpoint it starts from is test_resnet"):
        initial_weights("simclr", "resnet18", seed=0, parent=folder)


def test_identities(tmp_path):
    assert init_identity("random", "resnet18") == "random"
    assert init_identity("timm", "resnet18.tv_in1k") == "timm:resnet18.tv_in1k"
    assert init_identity("hf-hub:a/b", None) == "hf-hub:a/b"
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    first = init_identity(str(file), None)
    file.write_bytes(b"two")
    assert init_identity(str(file), None) != first
    with pytest.raises(RequestError, match="cannot be read"):
        init_identity(str(tmp_path / "gone.pth"), None)
