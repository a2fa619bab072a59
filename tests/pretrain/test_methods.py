"""Every method there is, walked by the same tests; what is a method's own is tested in `methods/`."""

from dataclasses import replace

import pytest
import torch

from raysweep.backbones.create import create_backbone
from raysweep.errors import RequestError
from raysweep.pretrain.inputs import make_method
from raysweep.pretrain.loop import build_module
from raysweep.pretrain.method import TrainingProgress
from raysweep.pretrain.methods import find_method, method_names
from raysweep.pretrain.parallel import Step
from raysweep.pretrain.sync_norm import share_norms
from tests.pretrain import ranks

# Small enough for a test; everything else is a method's default.
SMALL = {
    "barlowtwins": {"dim": 16},
    "byol": {"dim": 8, "hidden": 16},
    "dino": {"dim": 16, "hidden": 32, "n_small": 2},
    "dinov2": {"dim": 16, "hidden": 32, "n_small": 2},
    "mae": {"width": 32, "depth": 1, "heads": 2},
    "mocov2": {"dim": 8, "queue": 16, "groups": 2},
    "multitask": {},
    "simclr": {"dim": 8},
    "supervised": {},
    "swav": {"dim": 8, "hidden": 16, "prototypes": 6, "n_small": 2},
}


def backbone_for(name: str) -> str:
    return "test_vit" if find_method(name).only_vit else "test_resnet"


def px_for(name: str) -> int:
    return 64


def module_of(name: str, seed: int = 3) -> torch.nn.Module:
    backbone = create_backbone(backbone_for(name), seed=0)
    return build_module(make_method(name, SMALL[name]), backbone, ranks.SOURCES, seed).double()


def test_the_methods_there_are():
    assert {"multitask", "simclr", "supervised"} <= set(method_names())
    assert set(SMALL) >= set(method_names())


@pytest.mark.parametrize("name", method_names())
def test_every_method_keeps_the_contract(name):
    """Stated defaults, views, a module with the backbone, a loss whose gradient reaches all that is trained."""
    method = make_method(name, SMALL[name])
    assert method.optimizer in method.lr
    assert method.__doc__
    assert method.paper
    module = module_of(name).train()
    step = Step(method, module, half=False)
    batch = ranks.global_batch(name, SMALL[name], 0, 8, px_for(name))
    progress = TrainingProgress(5, 10, 5, 10)
    method.before_step(module, progress)
    loss, figures = step(batch, progress)
    loss.backward()
    method.after_backward(module, progress)
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    assert all(value.ndim == 0 for value in figures.values())
    grouped = [id(p) for group in method.groups(module) for p in group.parameters]
    trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
    assert sorted(grouped) == sorted(id(p) for p in trained.values()), "every trained parameter is in one group"
    idle = [n for n, p in trained.items() if p.grad is None]
    assert not idle, f"trained without a gradient: {idle}"
    backbone = sum(float(p.grad.abs().sum()) for n, p in trained.items() if n.startswith("backbone."))
    assert backbone > 0
    exported = method.exported(module).state_dict()
    assert exported.keys() == create_backbone(backbone_for(name), seed=0).state_dict().keys()


@pytest.mark.parametrize("name", method_names())
def test_what_is_new_in_a_module_is_drawn_from_the_seed(name):
    one, same, other = (module_of(name, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    new = [key for key, value in one.items() if value.ndim > 1 and "backbone" not in key and value.is_floating_point()]
    drawn = [key for key in new if not torch.equal(one[key], other[key])]
    assert drawn or not new


@pytest.mark.parametrize("name", method_names())
def test_two_ranks_equal_one(name, pair):
    """Losses, gradients and everything kept after two steps: batch statistics, teachers and queues included."""
    asked = (name, SMALL[name], backbone_for(name))
    alone = ranks.one_step(*asked, px=px_for(name))
    for shared in pair.run("one_step", *asked, px=px_for(name)):
        assert alone.keys() == shared.keys()
        for key, value in alone.items():
            if value.is_floating_point():
                scale = float(value.abs().max()) + 1e-6
                assert float((value - shared[key]).abs().max()) < 1e-8 * scale, key


@pytest.mark.parametrize("name", [n for n in method_names() if find_method(n).accumulates])
def test_a_batch_worked_on_in_parts_is_the_whole_batch(name):
    """With norms that do not look at the batch."""
    asked = (name, SMALL[name], backbone_for(name))
    whole, parts = (
        ranks.one_step(*asked, px=px_for(name), parts=count, frozen_norms=True) for count in (1, 4)
    )  # fmt: skip
    for key, value in whole.items():
        if value.is_floating_point():
            scale = float(value.abs().max()) + 1e-6
            assert float((value - parts[key]).abs().max()) < 1e-8 * scale, key


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "method", "px"),
    [
        ("resnet18", "simclr", 64), ("resnet50", "byol", 64), ("densenet121", "multitask", 64),
        ("inception_v3", "supervised", 96), ("efficientnet_b3", "barlowtwins", 64),
        ("resnetv2_50x1_bit", "supervised", 64), ("vit_small_patch16_224", "dino", 64),
        ("vit_base_patch32_224", "mae", 64), ("tf_efficientnet_lite0", "mocov2", 64),
    ],
)  # fmt: skip
def test_the_backbones_of_the_studies(backbone, method, px):
    """At sizes of their own, norms shared as on several ranks: a step moves them, and timm's names come out."""
    chosen = make_method(method, SMALL[method])
    made = create_backbone(backbone, seed=0)
    names = set(made.state_dict())
    module = share_norms(build_module(chosen, made, ranks.SOURCES, 0), torch.device("cpu")).train()
    batch = ranks.global_batch(method, SMALL[method], 0, 4, px)
    batch = replace(batch, views=[view.float() for view in batch.views])
    now = TrainingProgress(5, 10, 5, 10)
    chosen.before_step(module, now)
    loss, _ = Step(chosen, module, half=False)(batch, now)
    loss.backward()
    assert torch.isfinite(loss)
    trained = [p for p in made.parameters() if p.requires_grad]
    reached = [p for p in trained if p.grad is not None]
    assert len(reached) > 0.9 * len(trained)  # a token that a pooling passes over is not
    assert sum(float(p.grad.abs().sum()) for p in reached) > 0
    assert set(chosen.exported(module).state_dict()) == names


def test_an_unknown_method_is_refused_with_the_nearest():
    with pytest.raises(RequestError, match=r"method SimCRL: .*did you mean simclr"):
        find_method("SimCRL")
    with pytest.raises(RequestError, match=r"methods: .*simclr, supervised"):
        find_method("xyz")
