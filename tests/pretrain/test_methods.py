import pytest
import torch

from raysweep.backbones.create import create_backbone
from raysweep.errors import RequestError
from raysweep.pretrain.inputs import make_method
from raysweep.pretrain.loop import Learner
from raysweep.pretrain.methods import find_method, method_names


def test_the_methods_there_are():
    assert {"simclr", "supervised"} <= set(method_names())


@pytest.mark.parametrize("name", method_names())
def test_every_method_keeps_the_contract(name):
    """Options with defaults, views, a head, a loss whose gradient reaches backbone and head."""
    torch.manual_seed(0)
    method = make_method(name, {})
    assert method.optimizer in method.lr
    recipes = method.views(32)
    learner = Learner(method, create_backbone("test_resnet", seed=0), classes=3, seed=0).train()
    views = [torch.rand(8, 3, recipe.px, recipe.px) for recipe in recipes]
    loss, figures = learner(views, torch.arange(8) % 3)
    loss.backward()
    assert loss.ndim == 0
    assert all(value.ndim == 0 for value in figures.values())
    trained = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    assert all(p.grad is not None for p in trained.values())
    for part in ("backbone.", "head."):
        assert sum(float(p.grad.abs().sum()) for name, p in trained.items() if name.startswith(part)) > 0
    assert find_method(name).__doc__


@pytest.mark.parametrize("name", method_names())
def test_heads_are_drawn_from_the_seed(name):
    def head(seed: int) -> list[torch.Tensor]:
        learner = Learner(make_method(name, {}), create_backbone("test_resnet", seed=0), classes=3, seed=seed)
        return [p for p in learner.head.parameters() if p.ndim > 1]

    assert all(torch.equal(a, b) for a, b in zip(head(1), head(1), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(head(1), head(2), strict=True))


def test_an_unknown_method_is_refused_with_the_nearest():
    with pytest.raises(RequestError, match=r"method SimCRL: .*did you mean simclr"):
        find_method("SimCRL")
    with pytest.raises(RequestError, match=r"methods: .*simclr, supervised"):
        find_method("xyz")


def test_simclr_is_nt_xent():
    """Against the paper's equation 1, written out."""
    method = make_method("simclr", {"tau": 0.3})
    learner = Learner(method, create_backbone("test_resnet", seed=0), classes=0, seed=0).train()
    views = [torch.rand(6, 3, 32, 32), torch.rand(6, 3, 32, 32)]
    loss, _ = learner(views, torch.full((6,), -1))
    with torch.no_grad():
        z = torch.nn.functional.normalize(learner.head(learner.backbone(torch.cat(views))), dim=1)
        similar = torch.exp(z @ z.T / 0.3)
        total = 0.0
        for i in range(12):
            total -= torch.log(similar[i, (i + 6) % 12] / (similar[i].sum() - similar[i, i])).item()
    assert loss.item() == pytest.approx(total / 12, rel=1e-4)


def test_supervised_counts_what_it_gets_right():
    method = make_method("supervised", {"colour": 0})
    learner = Learner(method, create_backbone("test_resnet", seed=0), classes=3, seed=0).eval()
    views = [torch.rand(9, 3, 32, 32)]
    said = learner.head(learner.backbone(views[0])).argmax(1)
    labels = said.clone()
    labels[:3] = (labels[:3] + 1) % 3
    assert learner(views, labels)[1]["accuracy"].item() == pytest.approx(6 / 9)
