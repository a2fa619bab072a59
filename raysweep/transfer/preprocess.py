"""From stored pixels to what a backbone takes, with the colour part of augmentation."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_RANGE = 0.3  # brightness, contrast and saturation change by at most this part
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Preprocess:
    """uint8 (batch, h, w, 3) -> float32 (batch, 3, h, w) on the device, normalised by a checkpoint's mean and std."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1)
        self._grey = torch.tensor(_GREY, device=device).view(1, 3, 1, 1)
        self._device = device

    def __call__(self, pixels: np.ndarray, colours: np.ndarray | None = None) -> Tensor:
        """colours: (batch, 3) in [-1, 1], the change of brightness, contrast and saturation; none when not given."""
        images = torch.from_numpy(pixels).to(self._device).movedim(-1, 1).float() / 255
        if colours is not None:
            images = self._jittered(images, colours)
        return (images - self._mean) / self._std

    def _jittered(self, images: Tensor, colours: np.ndarray) -> Tensor:
        changes = 1 + _RANGE * torch.from_numpy(colours.astype(np.float32)).to(self._device)
        brightness, contrast, saturation = (changes[:, i].view(-1, 1, 1, 1) for i in range(3))
        images = images * brightness
        level = (images * self._grey).sum(1, keepdim=True).mean((2, 3), keepdim=True)
        images = level + (images - level) * contrast
        grey = (images * self._grey).sum(1, keepdim=True)
        return (grey + (images - grey) * saturation).clamp(0, 1)
