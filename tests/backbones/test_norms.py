import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d
from torch import nn

from raysweep.backbones.create import create_backbone
from raysweep.backbones.norms import recalibrate_norms, reset_norms


def trained(name: str = "test_resnet") -> nn.Module:
    """A model whose norms carry statistics, scales and shifts of their own."""
    model = create_backbone(name, seed=0).eval()
    draw = torch.Generator().manual_seed(3)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(generator=draw)
            layer.running_var.uniform_(0.5, 2.0, generator=draw)
            with torch.no_grad():
                layer.weight.uniform_(0.5, 1.5, generator=draw)
                layer.bias.normal_(generator=draw)
    return model


def data(n: int = 12) -> torch.Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(4)) * 3 - 0.5


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])  # BatchNorm2d, BatchNormAct2d
def test_recalibrated_norms_answer_the_same_and_carry_the_datas_statistics(name):
    model, images = trained(name), data()
    layers = {key: m for key, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    seen = {}
    for key, layer in layers.items():
        layer.register_forward_pre_hook(lambda _, inputs, key=key: seen.__setitem__(key, inputs[0]))
    with torch.no_grad():
        before = model(images)
    inputs = dict(seen)
    assert recalibrate_norms(model, [images[:5], images[5:6], images[6:]]) == len(layers) > 3
    with torch.no_grad():
        torch.testing.assert_close(model(images), before, rtol=1e-4, atol=1e-5)
        other = data(3) * 2
        torch.testing.assert_close(model(other), trained(name)(other), rtol=1e-4, atol=1e-4)
    for key, layer in layers.items():
        values = inputs[key].movedim(1, 0).flatten(1).double()
        torch.testing.assert_close(layer.running_mean.double(), values.mean(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.running_var.double(), values.var(1), rtol=1e-4, atol=1e-6)
    assert isinstance(next(iter(layers.values())), BatchNormAct2d) == (name == "test_efficientnet")


def test_one_dimension_and_the_mode_of_training():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.BatchNorm1d(6, affine=False))
    model[2].eval()
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    assert recalibrate_norms(model, [x]) == 1, "one without scale and shift could not take up the difference"
    assert (model.training, model[1].training, model[2].training) == (True, True, False)
    hidden = model[0](x)
    torch.testing.assert_close(model[1].running_var, hidden.var(0))
    assert torch.equal(model[3].running_mean, torch.zeros(6))


def test_frozen_norms_are_left_alone():
    model = trained()
    for parameter in model.layer1.parameters():
        parameter.requires_grad = False
    frozen = nn.Sequential(model, nn.Flatten(), nn.Unflatten(1, (-1, 1, 1)), FrozenBatchNormAct2d(model.num_features))
    kept = {k: v.clone() for k, v in frozen.state_dict().items() if k.startswith(("0.layer1.", "3."))}
    recalibrate_norms(frozen, [data()])
    reset_norms(frozen, affine=True)
    assert len(kept) > 10
    assert all(torch.equal(frozen.state_dict()[k], v) for k, v in kept.items())


@pytest.mark.parametrize("affine", [True, False])
def test_reset(affine):
    model, before = trained(), trained().state_dict()
    count = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert reset_norms(model, affine=affine) == count
    for key, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.running_mean == 0).all()
            assert (layer.running_var == 1).all()
            expected = torch.ones_like(layer.weight) if affine else before[f"{key}.weight"]
            assert torch.equal(layer.weight, expected)
            assert torch.equal(layer.bias, torch.zeros_like(layer.bias) if affine else before[f"{key}.bias"])


def test_no_norm_and_no_batch():
    assert reset_norms(timm.create_model("test_vit", num_classes=0), affine=True) == 0
    with pytest.raises(ValueError, match="there is no batch"):
        recalibrate_norms(trained(), [])
