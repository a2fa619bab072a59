import os
from pathlib import Path

import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from raysweep.backbones.checkpoint import load_checkpoint, save_checkpoint
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
        ("random", "resnet18.nobodys", r"timm has no resnet18 tagged nobodys; write resnet18, or a tag"),
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


def test_a_folder_of_the_hub_names_the_file_in_it(state, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        RequestError, match=r"is a folder; name the file of weights in it, such as .*/model\.safetensors"
    ):
        check_init(str(tmp_path), NAME)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: (v * 9).to(torch.int8), "are no floating-point numbers, as in a quantised network .*not quantised"),
        (lambda v: v.to(torch.complex64), "are no floating-point numbers"),
        (lambda v: torch.full_like(v, float("nan")), "hold values that are no numbers"),
        (lambda v: v.to("meta"), "hold no numbers"),
        (torch.zeros_like, "all of its weights are 0"),
    ],
)
def test_weights_that_would_load_and_be_useless_are_refused(state, change, said, tmp_path):
    torch.save({k: change(v) if v.is_floating_point() else v for k, v in state.items()}, tmp_path / "w.pth")
    with pytest.raises(RequestError, match=rf"init .*w\.pth: .*{said}"):
        initial_weights(str(tmp_path / "w.pth"), NAME, seed=0)


def test_one_infinite_weight_or_a_variance_below_zero_is_named(state, tmp_path):
    for name, value in (("conv1.weight", float("inf")), ("bn1.running_var", -1.0)):
        name = next(key for key in state if key.endswith(name.rpartition(".")[2]))
        changed = {**state, name: state[name].clone()}
        changed[name].view(-1)[0] = value
        torch.save(changed, tmp_path / "w.pth")
        with pytest.raises(RequestError, match=rf"1 of its weights hold values .*\({name}\); give those of an earlier"):
            initial_weights(str(tmp_path / "w.pth"), NAME, seed=0)


@pytest.mark.parametrize(("key", "value"), [("mean", [124, 116, 104]), ("std", [58, 57, 57]), ("mean", [-0.1, 0, 0])])
def test_means_for_pixels_up_to_255_are_refused(key, value):
    with pytest.raises(ValidationError, match=r"for pixels in \[0, 1\].*divide what is for 0 to 255 by 255"):
        Given.model_validate({key: value})


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


_WEIGHTS = Path(os.environ.get("RAYSWEEP_TEST_DATA", "")) / "weights"
_ORIGINAL, _TIMM = _WEIGHTS / "efficientnet-lite0-57934424.pth", _WEIGHTS / "tf_efficientnet_lite0.imagenet.safetensors"


@pytest.mark.skipif(not _ORIGINAL.is_file(), reason="RAYSWEEP_TEST_DATA has no weights/efficientnet-lite0")
class TestRealWeights:
    """ImageNet weights in the names of efficientnet_pytorch, and the same in timm's."""

    def test_a_renamed_family_loads_to_the_bit(self):
        renamed = initial_weights(str(_ORIGINAL), "tf_efficientnet_lite0", seed=0)
        expected = initial_weights(str(_TIMM), "tf_efficientnet_lite0", seed=1)
        assert renamed.missing == renamed.strays == []
        assert renamed.dropped == ["_fc.weight", "_fc.bias"]
        assert renamed.notes == ["names of efficientnet_pytorch"]
        counted = [k for k in expected.weights if not k.endswith("num_batches_tracked")]
        assert len(counted) > 200
        assert all(torch.equal(renamed.weights[k], expected.weights[k]) for k in counted)

    def test_with_its_classifier_it_names_coffee_and_cat(self):
        from skimage import data
        from torch.nn.functional import interpolate

        info = initial_weights(str(_ORIGINAL), "tf_efficientnet_lite0", seed=0).info
        assert (info.mean, info.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        model = timm.create_model("tf_efficientnet_lite0").eval()
        head = torch.load(_ORIGINAL, weights_only=True)
        weights = initial_weights(str(_ORIGINAL), "tf_efficientnet_lite0", seed=0).weights
        model.load_state_dict({**weights, "classifier.weight": head["_fc.weight"], "classifier.bias": head["_fc.bias"]})
        named = []
        for picture in (data.coffee(), data.chelsea()):
            edge = min(picture.shape[:2])
            top, left = (picture.shape[0] - edge) // 2, (picture.shape[1] - edge) // 2
            square = torch.from_numpy(picture[top : top + edge, left : left + edge].copy()).movedim(-1, 0)[None] / 255
            images = interpolate(square, (224, 224), mode="bicubic", antialias=True)
            with torch.no_grad():
                named.append(int(model((images - 0.5) / 0.5).argmax()))
        assert named[0] == 967
        assert 281 <= named[1] <= 285


@pytest.mark.parametrize(
    ("held", "named", "says"),
    [
        ("resnet34", "resnet18", r"resnet18 has no place for 80 parameters of the trunk in it \(.*layer1\.2\.conv1"),
        ("resnet18", "resnet34", r"80 of the 180 parameters .* are not in it \(layer1\.2\.conv1\.weight"),
        ("resnet18", "resnet18d", r"26 of the 110 .*of another shape: .*layer2\.0\.downsample\.1\.weight"),
        ("resnet18", "seresnet18", r"are not in it \(layer1\.0\.se\.fc1\.weight"),
        ("seresnet18", "resnet18", r"no place for 32 parameters of the trunk in it \(.*layer1\.0\.se\.fc1\.weight"),
        ("resnet18", "resnet18", None),
    ],
)
def test_another_depth_or_variant_is_refused(held, named, says, tmp_path):
    torch.save({"state_dict": timm.create_model(held).state_dict()}, tmp_path / "file.pth")
    if says is None:
        assert sorted(initial_weights(str(tmp_path / "file.pth"), named, seed=0).dropped) == [
            "state_dict.fc.bias", "state_dict.fc.weight"
        ]  # fmt: skip
        return
    with pytest.raises(RequestError, match=says) as caught:
        initial_weights(str(tmp_path / "file.pth"), named, seed=0)
    assert "allow_missing" in str(caught.value)


def test_what_is_left_over_can_be_allowed(tmp_path):
    deep = timm.create_model("test_vit", num_classes=0, depth=3)
    torch.save(deep.state_dict(), tmp_path / "deep.torch")
    given = Given(model_args={"depth": 2}, allow_missing=["blocks.2.*"])
    initial = initial_weights(str(tmp_path / "deep.torch"), "test_vit", seed=0, given=given)
    assert len(initial.strays) == 12
    assert initial.misfits == {"dropped_keys": initial.dropped, "missing_keys": [], "stray_keys": initial.strays}
    assert initial.info.arguments == {"depth": 2}
    assert torch.equal(initial.weights["norm.weight"], deep.state_dict()["norm.weight"])


def test_what_is_given_comes_before_what_timm_says_and_is_inherited(tmp_path):
    given = Given(pool="token+avg", mean=(0.7, 0.5, 0.7), std=(0.2, 0.3, 0.2), interpolation="bilinear", seen=["TCGA"],
                  model_args={"depth": 2, "act_layer": "SiLU"})  # fmt: skip
    source = create_backbone("test_vit", seed=3, arguments=given.model_args)
    torch.save(source.state_dict(), tmp_path / "file.pth")
    first = initial_weights(str(tmp_path / "file.pth"), "test_vit", seed=0, given=given)
    assert first.info.model_dump(include={"pool", "mean", "std", "interpolation"}) == {
        "pool": "token+avg", "mean": (0.7, 0.5, 0.7), "std": (0.2, 0.3, 0.2), "interpolation": "bilinear"
    }  # fmt: skip
    assert first.info.sources == ["file:file.pth", "TCGA"]
    folder = Storage.open(tmp_path / "checkpoint")
    save_checkpoint(folder, first.weights, first.info)
    model, _ = load_checkpoint(folder)
    assert model.num_features == 2 * source.num_features
    child = initial_weights("x", None, seed=0, parent=folder, given=Given(seen=["CPTAC"], pool="avg"))
    assert child.info.sources == ["CPTAC", "TCGA", "file:file.pth"]
    assert (child.info.pool, child.info.mean, child.info.arguments) == ("avg", (0.7, 0.5, 0.7), given.model_args)


def test_without_the_network_a_name_of_the_hub_says_what_to_do(monkeypatch):
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route\nto the hub")

    monkeypatch.setattr("timm.create_model", offline)
    tag = "resnet18.a1_in1k"
    for init, backbone, repository in (("hf-hub:a/b", None, "a/b"), ("timm", tag, f"timm/{tag}")):
        with pytest.raises(WorkError) as caught:
            initial_weights(init, backbone, seed=0)
        said = str(caught.value)
        assert "cannot be loaded (no route to the hub)" in said
        assert f"https://huggingface.co/{repository}" in said
        assert "init: THAT_FILE" in said
        assert "\n" not in said


def test_arguments_of_the_hubs_own_configuration_come_along(tmp_path, monkeypatch):
    arguments = {"global_pool": "avg", "depth": 2}  # timm names the last norm by the way of pooling
    source = create_backbone("test_vit", seed=1, arguments=arguments)
    monkeypatch.setattr("raysweep.backbones.create.download", lambda *_: source)
    monkeypatch.setattr(
        "timm.models.load_model_config_from_hf", lambda _: ({}, "test_vit", {**arguments, "num_classes": 5})
    )
    initial = initial_weights("hf-hub:a/b", None, seed=0)
    assert initial.info.arguments == arguments
    folder = Storage.open(tmp_path)
    save_checkpoint(folder, initial.weights, initial.info)
    loaded = load_checkpoint(folder)[0].state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in source.state_dict().items())
