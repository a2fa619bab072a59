import pytest
import torch

from raysweep.backbones.create import create_backbone
from raysweep.pretrain.batch import Batch
from raysweep.pretrain.inputs import make_method
from raysweep.pretrain.loop import build_module
from raysweep.pretrain.method import SourceClasses, TrainingProgress
from tests.pretrain import ranks

NOW = TrainingProgress(0, 1, 0, 1)


def made(options, sources):
    method = make_method("supervised", options)
    return method, build_module(method, create_backbone("test_resnet", seed=0), sources, 0).eval()


def test_it_counts_what_it_gets_right():
    method, module = made({}, [SourceClasses("a", ("x", "y", "z"))])
    views = [torch.rand(9, 3, 32, 32)]
    said = module.head(module.backbone(views[0])).argmax(1)
    labels = said.clone()
    labels[:3] = (labels[:3] + 1) % 3
    batch = Batch(views, labels, torch.zeros(9, dtype=torch.int64), torch.arange(9).numpy(), 0, 0)
    figures = method.loss(module, method.forward(module, batch, NOW), batch, NOW)[1]
    assert figures["accuracy"].item() == pytest.approx(6 / 9)


def test_classes_of_the_same_name_are_one():
    """Label 2 of the first source and label 0 of the second are both c."""
    method, module = made({}, ranks.SOURCES)
    assert module.head[-1].out_features == 4  # a, b, c, d
    views = [torch.rand(2, 3, 32, 32)[:1].repeat(2, 1, 1, 1)]
    batch = Batch(views, torch.tensor([2, 0]), torch.tensor([0, 1]), torch.arange(2).numpy(), 0, 0)
    outputs = method.forward(module, batch, NOW)
    both, _ = method.loss(module, outputs, batch, NOW)
    expected = torch.nn.functional.cross_entropy(outputs["scores"], torch.tensor([2, 2]))
    assert both.item() == pytest.approx(expected.item())
