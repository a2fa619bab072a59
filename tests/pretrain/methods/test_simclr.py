import pytest
import torch

from raysweep.backbones.create import create_backbone
from raysweep.pretrain.inputs import make_method
from raysweep.pretrain.loop import build_module
from raysweep.pretrain.method import TrainingProgress
from raysweep.pretrain.parallel import Step
from tests.pretrain import ranks


def test_it_is_nt_xent():
    """Against the paper's equation 1, written out."""
    options = {"tau": 0.3}
    method = make_method("simclr", options)
    module = build_module(method, create_backbone("test_resnet", seed=0), ranks.SOURCES, 0).double().train()
    batch = ranks.global_batch("simclr", options, 0, 6, 32)
    loss, _ = Step(method, module, half=False)(batch, TrainingProgress(0, 1, 0, 1))
    with torch.no_grad():
        z = torch.nn.functional.normalize(module.head(module.backbone(torch.cat(batch.views))), dim=1)
        similar = torch.exp(z @ z.T / 0.3)
        total = 0.0
        for i in range(12):
            total -= torch.log(similar[i, (i + 6) % 12] / (similar[i].sum() - similar[i, i])).item()
    assert loss.item() == pytest.approx(total / 12, rel=1e-6)


def test_the_loss_is_not_rounded_with_the_networks():
    """In bfloat16 the networks run, the loss does not: given their output, its gradient is that of float32."""
    method = make_method("simclr", {})
    projected = torch.randn(64, 16, generator=torch.Generator().manual_seed(0)).bfloat16()

    class Given(type(method)):
        def forward(self, module, batch, progress):
            assert torch.is_autocast_enabled("cpu")
            return {"projected": module.head}

    gradients = []
    for half in (True, False):
        given = projected.clone().requires_grad_() if half else projected.float().requires_grad_()
        module = torch.nn.Module()
        module.backbone, module.head = torch.nn.Identity(), torch.nn.Parameter(given.detach())
        method.__class__ = Given if half else type(method)
        batch = ranks.global_batch("simclr", {}, 0, 32, 32)
        if half:
            loss, _ = Step(method, module, half=True)(batch, TrainingProgress(0, 1, 0, 1))
        else:
            loss, _ = make_method("simclr", {}).loss(module, {"projected": module.head}, batch, None)
        loss.backward()
        gradients.append(module.head.grad.float())
    assert loss.dtype == torch.float32
    apart = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert float(apart) < 4e-3  # the gradient itself is stored in bfloat16; under autocast it was off by 2.2 %
