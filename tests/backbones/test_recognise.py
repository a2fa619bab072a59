"""Which architecture a file holds."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from raysweep.backbones import recognise as module
from raysweep.backbones.recognise import recognise
from raysweep.errors import RequestError


@pytest.fixture(scope="module")
def weights():
    return timm.create_model("test_resnet", num_classes=5).state_dict()


def test_a_name_inside_the_files_name_is_tried_first(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_USUAL", ())
    torch.save({"state_dict": {f"module.{k}": v for k, v in weights.items()}}, tmp_path / "my-test_resnet.moco-v2.pth")
    assert recognise(tmp_path / "my-test_resnet.moco-v2.pth") == "test_resnet"
    save_file(weights, tmp_path / "test_resnet.safetensors")
    assert recognise(tmp_path / "test_resnet.safetensors") == "test_resnet"


def test_without_a_name_the_usual_ones_are_tried(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_USUAL", ("test_vit", "test_resnet"))
    torch.save(weights, tmp_path / "best.pth")
    assert recognise(tmp_path / "best.pth") == "test_resnet"
    monkeypatch.setattr(module, "_USUAL", ("test_vit",))
    with pytest.raises(RequestError, match=r"holds none of the 1 architectures .*say which one as BACKBONE=best\.pth"):
        recognise(tmp_path / "best.pth")


def test_a_file_that_is_no_weights(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"hello")
    with pytest.raises(RequestError, match=r"x\.pth"):
        recognise(tmp_path / "x.pth")
    (tmp_path / "x.safetensors").write_bytes(b"hello")
    with pytest.raises(RequestError, match=r"x\.safetensors: it is no file of weights"):
        recognise(tmp_path / "x.safetensors")


def test_efficientnet_pytorchs_own_names(test_data):
    assert recognise(test_data / "weights/efficientnet-lite0-57934424.pth") == "tf_efficientnet_lite0"
    assert recognise(test_data / "weights/tf_efficientnet_lite0.imagenet.safetensors") == "tf_efficientnet_lite0"
