"""Random views of a patch, each a function of (seed, epoch, patch key, view) and of nothing else."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from raysweep.patches.recipe import Recipe
from raysweep.randomness import generator

_TURNS: tuple[tuple[int, ...], ...] = ((), (1,), (2,), (1, 2))  # axes to flip; with and without swapping them: 8 ways
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_TO_LUMA = np.tile(_LUMA, (3, 1))
_TO_YIQ = np.array([_LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])  # NTSC 1953
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


class _Draws(NamedTuple):
    """The random numbers of one view, each uniform in [0, 1)."""

    area: float
    stretch: float
    x: float
    y: float
    turn: float
    jitter: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey: float
    blur: float
    sigma: float


def make_views(
    images: Sequence[np.ndarray],
    keys: Sequence[int],
    recipe: Recipe,
    *,
    seed: int,
    epoch: int,
    view: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> Tensor:
    """One view of every image.

    Args:
        images: uint8 (h, w, 3) RGB each.
        keys: the patches' shuffle keys.
        view: which of the patch's views this is.
        mean, std: of the three channels, for pixels in [0, 1].

    Returns:
        float32 (n, 3, px, px), normalised. A patch's view does not depend on the other patches of the call.
    """
    views = torch.empty(len(images), 3, recipe.px, recipe.px)
    for index, (image, key) in enumerate(zip(images, keys, strict=True)):
        draws = _Draws(*generator(seed, "view", epoch, key, view).random(len(_Draws._fields)).tolist())
        pixels = _coloured(_cropped(image, recipe, draws), recipe, draws)
        if draws.blur < recipe.blur:
            pixels = _blurred(pixels, (0.1 + 1.9 * draws.sigma) * recipe.px / 224)
        views[index] = pixels
    shape = (1, 3, 1, 1)
    return views.sub_(torch.tensor(mean).view(shape)).div_(torch.tensor(std).view(shape))


def _cropped(image: np.ndarray, recipe: Recipe, draws: _Draws) -> Tensor:
    """A random part of the image, resized and turned: uint8 (3, px, px)."""
    height, width = image.shape[:2]
    edge = (recipe.scale[0] + (recipe.scale[1] - recipe.scale[0]) * draws.area) ** 0.5
    ratio = recipe.stretch ** (draws.stretch - 0.5)  # of a side to the square's; width over height is its square
    w = min(width, max(1, round(width * edge * ratio)))
    h = min(height, max(1, round(height * edge / ratio)))
    x, y = round(draws.x * (width - w)), round(draws.y * (height - h))
    pixels = torch.from_numpy(image[y : y + h, x : x + w]).permute(2, 0, 1)
    if (h, w) != (recipe.px, recipe.px):
        size = (recipe.px, recipe.px)
        pixels = functional.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
    if recipe.turn:
        swap, flip = divmod(int(8 * draws.turn), 4)
        pixels = (pixels.transpose(1, 2) if swap else pixels).flip(_TURNS[flip])
    return pixels


def _coloured(crop: Tensor, recipe: Recipe, draws: _Draws) -> Tensor:
    """Jitter and grey: float32 (3, h, w) in [0, 1].

    Brightness, contrast (about the image's mean luma), saturation and hue (a turn about the grey axis, in YIQ) are
    linear in the pixel and are applied together as one matrix and one offset, clipped once at the end.
    """
    pixels = crop.float().div_(255)
    matrix, offset = np.eye(3), 0.0
    if draws.jitter < recipe.jitter:
        b = 1 + recipe.brightness * (2 * draws.brightness - 1)
        c = 1 + recipe.contrast * (2 * draws.contrast - 1)
        s = 1 + recipe.saturation * (2 * draws.saturation - 1)
        hue = _hue_turn(2 * np.pi * recipe.hue * (2 * draws.hue - 1))
        matrix = b * c * (s * hue + (1 - s) * _TO_LUMA)
        offset = b * (1 - c) * float(pixels.mean(dim=(1, 2)).numpy() @ _LUMA)
    if draws.grey < recipe.grey:
        matrix = _TO_LUMA @ matrix
    elif draws.jitter >= recipe.jitter:
        return pixels
    flat = torch.from_numpy(matrix.astype(np.float32)) @ pixels.reshape(3, -1)
    return flat.add_(offset).clamp_(0, 1).view_as(pixels)


def _hue_turn(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return _FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _TO_YIQ


def _blurred(pixels: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of a float (3, h, h) image; near an edge the weights inside it are scaled up to 1."""
    at = torch.arange(pixels.shape[1], dtype=torch.float32)
    weights = torch.exp(-0.5 * ((at[:, None] - at) / sigma) ** 2)
    weights /= weights.sum(dim=1, keepdim=True)
    return weights @ pixels @ weights.T
