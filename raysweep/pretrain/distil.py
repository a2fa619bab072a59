"""What methods share in which a network learns from the average of its own past: centre, temperature, heads, loss.

Caron et al., "Emerging properties in self-supervised vision transformers" (DINO), ICCV 2021. Heads are lightly's. The
loss is not: lightly's moves its centre in every forward pass, so that a batch worked on in parts would move it several
times, and takes the mean of the ranks' means, whatever the number of samples behind each.
"""

import torch
import torch.distributed as dist
from lightly.models.modules import DINOProjectionHead
from torch import Tensor, nn

from raysweep.pretrain.method import TrainingProgress
from raysweep.pretrain.ranks import summed, world_size

STUDENT_TAU = 0.1
_FIRST_TAU = 0.04
_CENTRE_MOMENTUM = 0.9


class Centre(nn.Module):
    """The moving mean of a teacher's outputs, which is taken off them so that no output wins for every sample (eq. 4).

    Calls only take note of outputs; `move` moves the centre, once a step, by all outputs of all ranks.
    """

    value: Tensor
    _sum: Tensor
    _count: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(dim))
        self.register_buffer("_sum", torch.zeros(dim), persistent=False)
        self.register_buffer("_count", torch.zeros(1), persistent=False)

    def forward(self, outputs: Tensor, tau: float) -> Tensor:
        """Probabilities (n, dim) of a teacher's outputs, float (n, dim), at temperature `tau`."""
        self._sum += outputs.detach().sum(0)
        self._count += len(outputs)
        return torch.softmax((outputs - self.value) / tau, dim=-1)

    @torch.no_grad()
    def move(self) -> None:
        """Move towards the mean of the outputs since the last move; without any the centre stays."""
        total = summed(torch.cat([self._sum, self._count]))
        mean = total[:-1] / total[-1].clamp(min=1)
        self.value.lerp_(mean, (1 - _CENTRE_MOMENTUM) * (total[-1] > 0).to(mean))
        self._sum.zero_()
        self._count.zero_()


@torch.no_grad()
def sinkhorn(outputs: Tensor, tau: float, rounds: int = 3) -> Tensor:
    """Probabilities (n, dim) of a teacher's outputs, float (n, dim), such that every output is used alike.

    Rows and columns are scaled in turn, over the samples of all ranks: Caron et al. 2020 (SwAV), section 3.1.
    """
    scores = outputs / tau
    highest = scores.max() if scores.numel() else scores.new_zeros(())
    if world_size() > 1:
        dist.all_reduce(highest, dist.ReduceOp.MAX)
    shares = torch.exp(scores - highest)  # a factor that the scaling takes away again; keeps the power finite
    for _ in range(rounds):
        shares = shares / summed(shares.sum(0)).clamp(min=torch.finfo(shares.dtype).tiny)
        shares = shares / shares.sum(1, keepdim=True)
    return shares


def twin_heads(width: int, hidden: int, dim: int) -> tuple[DINOProjectionHead, DINOProjectionHead]:
    """A student's and its teacher's head, equal, from `width` to `dim` outputs; nothing trains the teacher's."""
    student, teacher = (
        DINOProjectionHead(width, hidden, output_dim=dim, freeze_last_layer=1) for _ in range(2)
    )  # fmt: skip
    teacher.load_state_dict(student.state_dict())  # weight_norm leaves a tensor behind that deepcopy refuses
    return student, teacher.requires_grad_(False)


def hold_last_layer(head: DINOProjectionHead, progress: TrainingProgress) -> None:
    """Take the last layer's gradient away in the first epoch, but at most in a tenth of all steps.

    A training of a single epoch would otherwise leave it as it was drawn.
    """
    if progress.step < 0.1 * progress.steps:
        head.cancel_last_layer_gradients(progress.epoch)


def teacher_tau(progress: TrainingProgress, end: float, warmup: float) -> float:
    """The teacher's temperature: a line from 0.04 to `end` over the first `warmup` of the steps."""
    done = min(1.0, progress.step / (warmup * progress.steps)) if warmup else 1.0
    return _FIRST_TAU + (end - _FIRST_TAU) * done


def cross_view_loss(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean cross-entropy over all pairs of a teacher's and a student's view that are not the same view (eq. 3).

    Args:
        teacher: probabilities, (t, n, dim).
        student: outputs for the same t views and further ones, (s, n, dim).
    """
    pairs = -torch.einsum("tnd,snd->ts", teacher, torch.log_softmax(student / STUDENT_TAU, dim=-1))
    others = 1 - torch.eye(*pairs.shape, dtype=pairs.dtype, device=pairs.device)
    return (pairs * others).sum() / (others.sum() * teacher.shape[1])
