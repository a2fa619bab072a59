"""Sums and gathers over the ranks of a training, with gradients; with one rank they do nothing."""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """How many ranks share the batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is."""
    return dist.get_rank() if world_size() > 1 else 0


def gathered(tensor: Tensor) -> Tensor:
    """The rows of all ranks, in the order of ranks; gradients flow back to whoever made them."""
    if world_size() == 1:
        return tensor
    from lightly.utils.dist import gather

    return torch.cat(gather(tensor.contiguous()))


def summed(tensor: Tensor) -> Tensor:
    """The sum over ranks; gradients flow back to all of them."""
    if world_size() == 1:
        return tensor
    return _Sum.apply(tensor)


class _Sum(torch.autograd.Function):
    """torch.distributed.nn's all_reduce leaves the tensor it was given changed in place; this one does not."""

    @staticmethod
    def forward(ctx: object, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total
