import re

import pytest
import timm
import torch
from torch import Tensor, nn

from raysweep.backbones.create import create_backbone
from raysweep.backbones.keys import fit_keys
from raysweep.errors import RequestError

NAME = "test_resnet"


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return create_backbone(NAME, seed=0)


def weights(prefix: str = "", seed: int = 1, name: str = NAME) -> dict[str, Tensor]:
    """Weights of the same architecture under a prefix."""
    state = create_backbone(name, seed=seed).state_dict()
    return {f"{prefix}{key}": value for key, value in state.items()}


def holds(fitted, state: dict[str, Tensor]) -> bool:
    """Whether these are the weights, to the bit and whole."""
    return fitted.weights.keys() == state.keys() and all(torch.equal(fitted.weights[k], v) for k, v in state.items())


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "backbone.", "encoder.", "module.encoder_q.", "_feature_blocks.", "model.trunk.0.net.",
     "state_dict.model.backbone.", "online_encoder.net.", "teacher.backbone.", "student.module.backbone.",
     "model_ema.module."],
)  # fmt: skip
@pytest.mark.parametrize("name", [NAME, "test_vit", "test_convnext"])
def test_prefixes_are_taken_off(name, prefix):
    fitted = fit_keys(weights(prefix, name=name), create_backbone(name, seed=0))
    assert fitted.prefix == prefix
    assert holds(fitted, weights(name=name))
    assert (fitted.dropped, fitted.missing, fitted.strays, fitted.notes) == ([], [], [], [])


def test_nested_dictionaries_are_looked_through(model):
    """The layout of VISSL's files."""
    trunk = weights("_feature_blocks.")
    heads = {"0.clf.0.weight": torch.zeros(2, 3), "0.clf.0.bias": torch.zeros(2)}
    content = {"phase_idx": 3, "classy_state_dict": {"base_model": {"model": {"trunk": trunk, "heads": heads}}}}
    fitted = fit_keys(content, model)
    assert holds(fitted, weights())
    assert fitted.dropped == [f"classy_state_dict.base_model.model.heads.{key}" for key in heads]


def test_every_key_dropped_or_missing_is_named(model):
    content = {**weights("module."), "module.fc.weight": torch.zeros(9, 4), "queue": torch.zeros(2)}
    del content["module.bn1.weight"]
    content["module.layer1.0.conv1.weight"] = torch.zeros(4, 1, 3, 3)
    wanted = tuple(model.state_dict()["layer1.0.conv1.weight"].shape)
    fitted = fit_keys(content, model)
    assert fitted.dropped == [
        f"module.layer1.0.conv1.weight (shape (4, 1, 3, 3), not {wanted})",
        "module.fc.weight",
        "queue",
    ]
    assert fitted.missing == ["bn1.weight", "layer1.0.conv1.weight"]
    assert fitted.strays == []


def test_a_counter_of_batches_may_be_missing_but_running_statistics_may_not(model):
    content = {k: v for k, v in weights().items() if not k.endswith(("num_batches_tracked", "running_var"))}
    fitted = fit_keys(content, model)
    assert fitted.missing == [k for k in model.state_dict() if k.endswith("running_var")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("module.encoder_q.", "module.encoder_k."),
        ("teacher.backbone.", "student.module.backbone."),
        ("online_network.", "target_network."),
        ("online_encoder.", "target_encoder."),
        ("base_encoder.", "momentum_encoder."),
        ("state_dict_ema.", "state_dict."),
        ("state_dict.", "optimizer.state."),
    ],
)
def test_of_two_copies_the_meant_one_is_taken(model, first, second):
    for content in (weights(first, 1) | weights(second, 2), weights(second, 2) | weights(first, 1)):
        fitted = fit_keys(content, model)
        assert fitted.prefix == first
        assert holds(fitted, weights(seed=1))
        assert sorted(fitted.dropped) == sorted(weights(second))


@pytest.mark.parametrize(("name", "left"), [("resnet18", "fc"), ("densenet121", "classifier")])
def test_the_trunk_of_a_network_with_many_heads(name, left):
    """The layout of Mormont's multi-task files: `features.` and the whole network, and `heads.`."""
    whole = timm.create_model(name, num_classes=3).state_dict()
    content = {f"features.{key}": value for key, value in whole.items()}
    content |= {f"heads.{task}.0.weight": torch.zeros(2, 4) for task in ("glomeruli", "necrosis")}
    fitted = fit_keys(content, timm.create_model(name, num_classes=0))
    assert holds(fitted, {k: v for k, v in whole.items() if not k.startswith(f"{left}.")})
    assert fitted.dropped == [f"features.{left}.weight", f"features.{left}.bias", "heads.glomeruli.0.weight",
                              "heads.necrosis.0.weight"]  # fmt: skip
    assert fitted.strays == []


def test_torchvisions_segmentation_models():
    """`backbone.` and two heads, as the COCO weights of fcn_resnet50 and deeplabv3_resnet50 have them."""
    from torchvision.models.segmentation import fcn_resnet50

    content = fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True).state_dict()
    fitted = fit_keys(content, timm.create_model("resnet50", num_classes=0))
    assert fitted.missing == fitted.strays == []
    assert {key.partition(".")[0] for key in fitted.dropped} == {"classifier", "aux_classifier"}
    assert torch.equal(fitted.weights["layer4.2.conv3.weight"], content["backbone.layer4.2.conv3.weight"])


def test_old_names_of_densenet():
    state = timm.create_model("densenet121", num_classes=0).state_dict()
    content = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", k): v for k, v in state.items()}
    assert content.keys() != state.keys()
    fitted = fit_keys(content, timm.create_model("densenet121", num_classes=0))
    assert fitted.missing == fitted.strays == []
    assert all(torch.equal(fitted.weights[k], v) for k, v in state.items() if k in fitted.weights)


def test_the_same_sequence_under_other_names_is_taken_and_said(model):
    """A trunk as `nn.Sequential(*list(net.children())[:-1])`, which many self-supervised methods keep."""
    children = {name: str(i) for i, name in enumerate(dict.fromkeys(k.partition(".")[0] for k in weights()))}
    renamed = {f"backbone.{children[k.partition('.')[0]]}.{k.partition('.')[2]}": v for k, v in weights().items()}
    content = {"state_dict": {**renamed, "projection.layers.0.weight": torch.zeros(8, 8)}}
    fitted = fit_keys(content, model)
    expected = {k: v for k, v in weights().items() if not k.endswith("num_batches_tracked")}
    assert holds(fitted, expected)
    assert "in its own order" in fitted.notes[0]
    assert fitted.dropped == ["state_dict.projection.layers.0.weight"]
    assert fit_keys(content, model, ordered=False).missing, "safetensors keeps no order"


def test_a_sequence_that_goes_on_is_another_network():
    """A deeper transformer's: its next block begins with a norm of the same shape as the last norm."""
    shallow, deep = (timm.create_model("test_vit", num_classes=0, depth=depth) for depth in (2, 3))
    content = {f"net.{k.replace('blocks', 'layers')}": v for k, v in deep.state_dict().items()}
    assert fit_keys(content, shallow).missing


def test_keys_of_the_trunk_that_have_no_place_are_strays():
    content = timm.create_model("test_vit", depth=3).state_dict()
    fitted = fit_keys(content, timm.create_model("test_vit", num_classes=0, depth=2))
    assert fitted.missing == []
    assert len(fitted.strays) == 12
    assert {key[:9] for key in fitted.strays} == {"blocks.2."}


def test_names_of_efficientnet_pytorch_are_refused_for_other_padding():
    content = {"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}
    with pytest.raises(RequestError, match="name the backbone tf_efficientnet_lite0"):
        fit_keys(content, timm.create_model("efficientnet_lite0", num_classes=0))


def test_nothing_fits(model):
    fitted = fit_keys({"other": torch.zeros(1), "note": "text"}, model)
    assert fitted.weights == {}
    assert fitted.dropped == ["other"]
    assert set(fitted.missing) == {k for k in model.state_dict() if not k.endswith("num_batches_tracked")}
