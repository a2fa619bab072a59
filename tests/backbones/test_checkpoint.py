from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open

from raysweep.backbones.checkpoint import (
    FILE,
    CheckpointInfo,
    export_checkpoint,
    load_checkpoint,
    read_info,
    save_checkpoint,
)
from raysweep.backbones.create import create_backbone
from raysweep.errors import RequestError, WorkError
from raysweep.storage import Storage

NAME = "test_resnet.r160_in1k"
INFO = CheckpointInfo(
    backbone=NAME, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1), mpp=0.5, px=64, method="simclr", licence="MIT",
    sources=["slide-1", "slide-2"], init="random", patches="a" * 32, epochs=4, pretraining_seed=1,
)  # fmt: skip


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Storage, torch.nn.Module]:
    model = create_backbone(NAME, seed=3)
    folder = Storage.open(tmp_path / "checkpoint")
    save_checkpoint(folder, model.state_dict(), INFO)
    return folder, model.eval()


def features(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.linspace(0, 1, 3 * 32 * 32).view(1, 3, 32, 32))


def test_what_is_saved_comes_back(saved):
    folder, model = saved
    loaded, info = load_checkpoint(folder)
    assert info == INFO == read_info(folder)
    assert not loaded.training
    assert torch.equal(features(loaded), features(model))


def test_equal_checkpoints_are_equal_files(saved, tmp_path):
    folder, model = saved
    for number in range(5):
        again = Storage.open(tmp_path / str(number))
        save_checkpoint(again, model.state_dict(), INFO)
        assert again.read_bytes(FILE) == folder.read_bytes(FILE)


def test_timm_loads_the_file_itself(saved):
    folder, model = saved
    loaded = timm.create_model(NAME, checkpoint_path=folder.path(FILE), num_classes=0)
    assert torch.equal(features(loaded), features(model))


def test_the_information_is_in_the_files_metadata_as_strings(saved):
    folder, _ = saved
    with safe_open(folder.path(FILE), framework="pt") as file:
        metadata = file.metadata()
    assert CheckpointInfo.model_validate_json(metadata["raysweep"]) == INFO


def test_an_export_loads_as_timms_own_folder(saved, tmp_path):
    folder, model = saved
    path = export_checkpoint(folder, tmp_path / "out")
    assert path == tmp_path / "out" / "model.safetensors"
    loaded = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, num_classes=0)
    assert torch.equal(features(loaded), features(model))
    assert tuple(loaded.pretrained_cfg["mean"]) == INFO.mean
    assert loaded.pretrained_cfg["input_size"][-1] == 64
    again = timm.create_model(NAME, checkpoint_path=str(path), num_classes=0)
    assert torch.equal(features(again), features(model))


def test_a_transformer_round_trips_with_its_arguments(tmp_path):
    model = create_backbone("test_vit", seed=0, arguments={"embed_dim": 32})
    folder = Storage.open(tmp_path)
    info = INFO.model_copy(update={"backbone": "test_vit", "arguments": {"embed_dim": 32}})
    save_checkpoint(folder, model.state_dict(), info)
    assert torch.equal(features(load_checkpoint(folder)[0]), features(model))


@pytest.mark.parametrize("pool", ["token", "avg", "token+avg", None])
def test_an_export_says_what_timm_has_words_for(tmp_path, pool):
    arguments = {"depth": 2, "mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}
    model = create_backbone("test_vit", seed=0, arguments=arguments, pool=pool)
    folder = Storage.open(tmp_path / "checkpoint")
    info = INFO.model_copy(
        update={"backbone": "test_vit", "arguments": arguments, "pool": pool, "interpolation": "bilinear"}
    )
    save_checkpoint(folder, model.state_dict(), info)
    assert torch.equal(features(load_checkpoint(folder)[0]), features(model))
    export_checkpoint(folder, tmp_path / "out")
    layers = {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU}  # timm's configuration has no words
    loaded = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, num_classes=0, **layers)
    answer = features(loaded)
    if pool == "token+avg":
        answer = torch.cat([answer[:, 0], answer[:, loaded.num_prefix_tokens :].mean(1)], dim=1)
    assert torch.equal(answer, features(model))
    assert loaded.pretrained_cfg["interpolation"] == "bilinear"


def test_lineage_grows_by_one(saved):
    parents = INFO.lineage()
    assert [p["init"] for p in parents] == ["random"]
    assert parents[0]["method"] == "simclr"
    child = INFO.model_copy(update={"init": "checkpoint:abc", "parents": parents})
    assert [p["init"] for p in child.lineage()] == ["random", "checkpoint:abc"]


def test_refusals(tmp_path):
    with pytest.raises(RequestError, match=f"there is no {FILE}"):
        read_info(Storage.open(tmp_path / "none"))
    for junk in (b"", b"short", b"\xff" * 64, b"\x02\x00\x00\x00\x00\x00\x00\x00{}"):
        other = Storage.open(tmp_path / "junk")
        other.write_bytes(junk, FILE)
        with pytest.raises(RequestError, match="not a file written by raysweep"):
            read_info(other)
    wrong = Storage.open(tmp_path / "wrong")
    save_checkpoint(wrong, {"x": torch.zeros(1)}, INFO)
    with pytest.raises(WorkError, match="does not fit test_resnet"):
        load_checkpoint(wrong)
