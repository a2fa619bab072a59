"""The parts of self-distillation against their formulas."""

import pytest
import torch

from raysweep.pretrain.distil import Centre, cross_view_loss, hold_last_layer, sinkhorn, teacher_tau, twin_heads
from raysweep.pretrain.method import TrainingProgress


def test_the_loss_is_the_cross_entropy_of_all_pairs_of_different_views():
    """Caron et al. 2021, equations 2 and 3, written out."""
    teacher = torch.rand(2, 5, 7).softmax(-1)
    student = torch.randn(4, 5, 7)
    terms = []
    for x in range(2):
        for other in range(4):
            if other != x:
                for i in range(5):
                    p = torch.exp(student[other, i] / 0.1)
                    terms.append(-(teacher[x, i] * torch.log(p / p.sum())).sum())
    assert len(terms) == 2 * 3 * 5
    torch.testing.assert_close(cross_view_loss(teacher, student), torch.stack(terms).mean())


def test_a_centre_moves_once_by_all_that_it_saw():
    """Equation 4 with m = 0.9, the batch in parts of unequal size; the centre in use does not move between them."""
    centre, outputs = Centre(3), torch.randn(8, 3)
    centre.value.copy_(torch.tensor([0.5, -1.0, 2.0]))
    before = centre.value.clone()
    for part in (outputs[:3], outputs[3:]):
        torch.testing.assert_close(centre(part, 0.05), torch.softmax((part - before) / 0.05, 1))
    assert torch.equal(centre.value, before)
    centre.move()
    torch.testing.assert_close(centre.value, 0.9 * before + 0.1 * outputs.mean(0))


def test_a_centre_stays_when_it_saw_nothing():
    centre = Centre(3)
    centre.value.fill_(2.0)
    centre(torch.zeros(0, 3), 0.04)
    centre.move()
    assert torch.equal(centre.value, torch.full((3,), 2.0))


def test_only_the_centre_is_kept():
    assert set(Centre(3).state_dict()) == {"value"}


@pytest.mark.parametrize(("step", "tau"), [(0, 0.04), (15, 0.055), (30, 0.07), (99, 0.07)])
def test_the_teacher_s_temperature_rises_in_a_line(step, tau):
    assert teacher_tau(TrainingProgress(step, 100, 0, 1), 0.07, 0.3) == pytest.approx(tau)


def test_without_a_warm_up_the_temperature_is_constant():
    assert teacher_tau(TrainingProgress(0, 100, 0, 1), 0.07, 0.0) == pytest.approx(0.07)


@pytest.mark.parametrize(
    ("step", "epoch", "epochs", "held"), [(0, 0, 100, True), (10, 1, 100, False), (99, 0, 1, True), (100, 0, 1, False)]
)
def test_the_last_layer_waits_in_the_first_epoch(step, epoch, epochs, held):
    """But not in more than a tenth of a training, such as one of a single epoch."""
    head, _ = twin_heads(4, 8, 6)
    head(torch.randn(3, 4)).sum().backward()
    hold_last_layer(head, TrainingProgress(step, 1000, epoch, epochs))
    assert (head.last_layer.weight_v.grad is None) == held
    assert head.layers[0].weight.grad is not None


def test_heads_are_twins_of_which_one_is_trained():
    student, teacher = twin_heads(4, 8, 6)
    x = torch.randn(3, 4)
    assert torch.equal(student(x), teacher(x))
    assert not any(p.requires_grad for p in teacher.parameters())
    # the last layer has unit rows and gets unit vectors: outputs are cosines
    assert student(torch.randn(50, 4)).abs().max() <= 1 + 1e-6


def test_sinkhorn_is_the_algorithm_of_the_paper():
    """Caron et al. 2020 (SwAV), as in its listing: dim by n, all entries sum to 1, rows and columns in turn."""
    outputs = torch.rand(6, 4, dtype=torch.float64) * 2 - 1
    q = torch.exp(outputs / 0.05).T
    q = q / q.sum()
    for _ in range(3):
        q = q / q.sum(1, keepdim=True) / 4
        q = q / q.sum(0, keepdim=True) / 6
    torch.testing.assert_close(sinkhorn(outputs, 0.05), (q * 6).T)


def test_sinkhorn_uses_all_outputs_alike():
    outputs = torch.rand(12, 4) + torch.tensor([3.0, 0.0, 0.0, 0.0])  # the first would win everywhere
    shares = sinkhorn(outputs, 0.5, rounds=50)
    torch.testing.assert_close(shares.sum(1), torch.ones(12))
    torch.testing.assert_close(shares.sum(0), torch.full((4,), 3.0), rtol=1e-3, atol=0)
    assert sinkhorn(torch.zeros(0, 4), 0.5).shape == (0, 4)
