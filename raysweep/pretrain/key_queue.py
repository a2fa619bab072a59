"""A queue of the last rows that steps left behind, the same on every rank."""

import torch
from torch import Tensor, nn

from raysweep.pretrain.ranks import gathered


class KeyQueue(nn.Module):
    """A ring of rows of unit length; its buffers are saved with the module that it is part of.

    It starts with random rows from torch's generator (He et al. 2020, MoCo). `rows`: (size, *shape). `added`: how many
    rows have ever entered, so the next goes to place `added % size`.
    """

    rows: Tensor
    added: Tensor

    def __init__(self, size: int, *shape: int) -> None:
        super().__init__()
        self.register_buffer("rows", nn.functional.normalize(torch.randn(size, *shape), dim=-1))
        self.register_buffer("added", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def add(self, rows: Tensor) -> None:
        """Let a step's rows (n, *shape) of all ranks take the place of the oldest.

        Call it once a step with all of a rank's rows, in the order of its samples: then the order in the queue is that
        of the whole batch, however many ranks share it. Of more rows than the queue has places, the last stay.
        """
        rows = gathered(rows.to(self.rows.dtype))
        size, count = len(self.rows), len(rows)
        kept = rows[-size:]
        # On the tensors' device from end to end: a number fetched to the CPU would make it wait for the GPU.
        places = (self.added + count - len(kept) + torch.arange(len(kept), device=rows.device)) % size
        self.rows.index_copy_(0, places, kept)
        self.added += count

    def full(self) -> bool:
        """Whether none of the random rows is left."""
        return int(self.added) >= len(self.rows)
