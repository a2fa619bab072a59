"""One rank's share of a step: what a method is given."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raysweep.randomness import generator


@dataclass(frozen=True)
class Batch:
    """Views and what is known of their patches.

    views: for each recipe float32 (n, 3, px, px). labels: int64 (n,), -1 where a patch has none; they index the classes
    of its source. sources: int64 (n,), numbers of the sources in the study's order. keys: the patches' shuffle keys,
    uint64 (n,). seed, epoch: what all random numbers of the batch hang on.
    """

    views: list[Tensor]
    labels: Tensor
    sources: Tensor
    keys: np.ndarray
    seed: int
    epoch: int

    def __len__(self) -> int:
        return len(self.labels)

    @torch.compiler.disable  # hashes and numpy's generators are nothing to compile: tracing them fails
    def draws(self, purpose: str, count: int) -> Tensor:
        """Uniform numbers in [0, 1) for each patch, float32 (n, count): a function of (seed, epoch, key, purpose).

        They do not depend on how a batch is shared between ranks.
        """
        rows = [
            generator(self.seed, purpose, self.epoch, int(key)).random(count, dtype=np.float32) for key in self.keys
        ]
        return torch.from_numpy(np.stack(rows)).to(self.labels.device)

    def parts(self, count: int) -> Iterator["Batch"]:
        """The batch in equal parts, for accumulation."""
        edge = len(self) // count
        for start in range(0, count * edge, edge):
            cut = slice(start, start + edge)
            views = [view[cut] for view in self.views]
            yield Batch(views, self.labels[cut], self.sources[cut], self.keys[cut], self.seed, self.epoch)
