import pytest
import timm
import torch

from raysweep.pretrain.inputs import Settings, make_method, settings
from raysweep.pretrain.method import TrainingProgress
from raysweep.pretrain.optimiser import Optimiser, learning_rate
from raysweep.pretrain.spec import CheckpointSpec


def plan(**keys) -> Settings:
    given = {"lr": 2.0, "weight_decay": 0.1, "warmup": 0.1, **keys}
    made = settings(CheckpointSpec(backbone="test_vit", method="simclr", patches="p", **given))
    assert made is not None
    return made


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    rates = [learning_rate(step, 100, plan()) for step in range(100)]
    assert rates[0] == pytest.approx(2 / 11)
    assert rates[10] == pytest.approx(2.0)
    assert max(rates) == pytest.approx(2.0)
    assert rates == sorted(rates[:11]) + sorted(rates[11:], reverse=True)
    assert rates[55] == pytest.approx(1.0)
    assert 0 < rates[-1] < 0.01
    assert learning_rate(0, 1, plan(warmup=0.0)) == 2.0
    assert learning_rate(99, 100, plan(schedule="constant")) == 2.0


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_norms_biases_tokens_and_positions_are_not_decayed(name):
    """timm's own exemptions, under whatever prefix a method keeps the network."""
    backbone = timm.create_model("test_vit", num_classes=0)
    module = torch.nn.ModuleDict({"backbone": backbone, "head": torch.nn.Linear(4, 2)})
    optimiser = Optimiser(make_method("simclr", {}), module, plan(optimizer=name))
    optimiser.lead(TrainingProgress(50, 100, 0, 1))
    by_parameter = {id(p): group for group in optimiser.torch.param_groups for p in group["params"]}
    assert len(by_parameter) == len(list(module.parameters()))
    for key, parameter in module.named_parameters():
        free = parameter.ndim <= 1 or key.endswith(("cls_token", "pos_embed"))
        assert by_parameter[id(parameter)]["weight_decay"] == (0.0 if free else 0.1), key


def test_lars_adapts_weights_even_without_decay():
    layer = torch.nn.Linear(4, 2)
    module = torch.nn.ModuleDict({"backbone": layer})
    optimiser = Optimiser(make_method("simclr", {}), module, plan(optimizer="lars", weight_decay=0.0, warmup=0.0))
    optimiser.lead(TrainingProgress(0, 100, 0, 1))
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    layer.weight.grad, layer.bias.grad = torch.ones(2, 4), torch.ones(2)
    optimiser.step()
    trust = 0.001 * before[0].norm() / torch.ones(2, 4).norm()  # You et al. 2017, equation 6
    torch.testing.assert_close(layer.weight, before[0] - 2.0 * trust, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(layer.bias, before[1] - 2.0)


def test_the_decay_follows_a_cosine_to_its_end():
    module = torch.nn.ModuleDict({"backbone": torch.nn.Linear(4, 2)})
    optimiser = Optimiser(make_method("simclr", {}), module, plan(weight_decay=0.04, weight_decay_end=0.4))
    decays = []
    for step in range(11):
        optimiser.lead(TrainingProgress(step, 11, 0, 1))
        decays.append(optimiser.torch.param_groups[0]["weight_decay"])
    assert decays[0] == pytest.approx(0.04)
    assert decays[5] == pytest.approx(0.22)
    assert decays[10] == pytest.approx(0.4)


def test_gradients_are_clipped_and_their_norm_is_told():
    layer = torch.nn.Linear(3, 1, bias=False)
    module = torch.nn.ModuleDict({"backbone": layer})
    optimiser = Optimiser(make_method("simclr", {}), module, plan(optimizer="sgd", clip=1.0, weight_decay=0.0))
    layer.weight.grad = torch.tensor([[3.0, 0.0, 4.0]])
    assert float(optimiser.step()) == pytest.approx(5.0)
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[0.6, 0.0, 0.8]]), rtol=1e-5, atol=1e-6)


def test_a_methods_own_rate_replaces_the_schedule():
    method = make_method("multitask", {"warmup_steps": 2, "warmup_lr": 0.5, "head_lr_factor": 5.0})
    module = torch.nn.ModuleDict(
        {"backbone": torch.nn.Linear(4, 2), "heads": torch.nn.ModuleList([torch.nn.Linear(2, 2)])}
    )
    optimiser = Optimiser(method, module, plan(lr=0.01, warmup=0.0, schedule="constant"))
    optimiser.lead(TrainingProgress(1, 10, 0, 1))
    heads = [g["lr"] for g in optimiser.torch.param_groups if g["lr_factor"] == 5.0]
    assert heads == [0.5, 0.5]
    optimiser.lead(TrainingProgress(2, 10, 0, 1))
    assert {g["lr"] for g in optimiser.torch.param_groups} == {0.01, 0.05}
