"""How much a network has to compute and to keep for an image, counted on the meta device: no weights are made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

BACKWARD = 2  # passes as dear as the forward one: gradients of weights and of what they are given
_IMAGES = 2


@dataclass(frozen=True)
class Work:
    """Of one image, but for the parameters."""

    flops: float  # forward, a multiplication and an addition being two
    kept_bytes: float  # kept in float32 from the forward for the backward pass
    parameters: int


def count_work(network: nn.Module, forward: Callable[[int], Any]) -> Work:
    """Count what `forward` does, which runs the network on as many images as it is asked to.

    Network and images are on the meta device. torch counts the backward pass of grouped convolutions many times over,
    so that it is not run: BACKWARD says what it adds.
    """
    network.train()
    kept = _Kept(parameter for parameter in network.parameters())
    counter = FlopCounterMode(display=False)
    with torch.autograd.graph.saved_tensors_hooks(kept.keep, lambda tensor: tensor), counter, kept:
        held = forward(_IMAGES)  # what it has kept is alive, and not counted twice, as long as this is
    del held
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Work(counter.get_total_flops() / _IMAGES, kept.total / _IMAGES, parameters)


class _Kept(TorchFunctionMode):
    """Bytes that are kept for a backward pass, each once, and parameters never.

    Of an attention only its operands and result: without values torch works it out step by step, and keeps the matrix
    of weights that neither processors nor GPUs keep.
    """

    def __init__(self, parameters: Any) -> None:
        super().__init__()
        # held, as the address of one that has gone may be given to the next
        self._seen = {storage._cdata: storage for storage in (p.untyped_storage() for p in parameters)}
        self._inside = False
        self.total = 0

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not self._inside and storage._cdata not in self._seen:
            self._seen[storage._cdata] = storage
            self.total += storage.nbytes()
        return tensor

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        self._inside = True
        try:
            out = func(*args, **(kwargs or {}))
        finally:
            self._inside = False
        for tensor in (*args[:3], out):
            self.keep(tensor)
        return out
