"""Random views of a patch, each a function of (seed, epoch, patch key, view) and of nothing else.

The crop differs from image to image and is cheap: it stays on the CPU. Colours and blur are most of the work and the
same operations for every patch, so that a whole batch can have them at once on the device that trains.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from raysweep.patches.recipe import Recipe
from raysweep.randomness import generator

# The random numbers of one view, each uniform in [0, 1); new ones go to the end, so that the others stay as they are.
_DRAWS = np.dtype(
    [(name, float) for name in (
        "area", "stretch", "x", "y", "turn", "jitter", "brightness", "contrast", "saturation", "hue", "grey", "blur",
        "sigma", "solarise",
    )] + [("stain_factors", float, 3), ("stain_shifts", float, 3)]
)  # fmt: skip
_TURNS: tuple[tuple[int, ...], ...] = ((), (1,), (2,), (1, 2))  # axes to flip; with and without swapping them: 8 ways
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_TO_LUMA = np.tile(_LUMA, (3, 1))
_TO_YIQ = np.array([_LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])  # NTSC 1953
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
# Optical densities (red, green, blue) of haematoxylin, eosin and DAB, one column a stain: Ruifrok & Johnston,
# "Quantification of histochemical staining by color deconvolution", Anal. Quant. Cytol. Histol. 23:291, 2001.
_FROM_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]]).T
_TO_STAINS = np.linalg.inv(_FROM_STAINS)
_LOG_10 = float(np.log(10))
_REACH = 4.0  # sigmas of a blur; all that lies beyond weighs 6e-5


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
    """One view of every image, on the CPU: `crop_views`, then `colour_views`.

    Returns:
        float32 (n, 3, px, px), normalised. A patch's view does not depend on the other patches of the call.
    """
    pixels = crop_views(images, keys, recipe, seed=seed, epoch=epoch, view=view)
    return colour_views(pixels, keys, recipe, seed=seed, epoch=epoch, view=view, mean=mean, std=std)


def crop_views(
    images: Sequence[np.ndarray], keys: Sequence[int], recipe: Recipe, *, seed: int, epoch: int, view: int,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """A random part of every image, resized with antialiasing, flipped and turned. Keeps no state: fit for threads.

    Where the crop that was drawn is wider or higher than the image, it is as wide or high as the image, but its sides
    never differ by more than `recipe.stretch`: tissue is not squeezed, whatever the shape of the image.

    Args:
        images: uint8 (h, w, 3) RGB each, of any sizes.
        keys: the patches' shuffle keys.
        view: which of the patch's views this is.
        out: where to put them; default: a new tensor.

    Returns:
        uint8 (n, 3, px, px).
    """
    pixels = torch.empty(len(images), 3, recipe.px, recipe.px, dtype=torch.uint8) if out is None else out
    draws = _drawn(keys, seed, epoch, view)
    for place, image, draw in zip(pixels, images, draws, strict=True):
        place.copy_(_crop(image, recipe, draw))
    return pixels


def colour_views(
    pixels: Tensor,
    keys: Sequence[int],
    recipe: Recipe,
    *,
    seed: int,
    epoch: int,
    view: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> Tensor:
    """Colours and blur of cropped views: stains, jitter, grey, blur, solarise, in this order; then normalised.

    On the CPU a sample's result does not depend on the others, to the bit. On a GPU it is the same within rounding:
    there is no matrix product or convolution, so everything is in float32 whatever is set about TF32 and autocast.

    Args:
        pixels: uint8 (n, 3, px, px), on any device.
        keys, recipe, seed, epoch, view: as for `crop_views`.
        mean, std: of the three channels, for pixels in [0, 1].

    Returns:
        float32 (n, 3, px, px), normalised, on the same device.
    """
    draws = _drawn(keys, seed, epoch, view)
    if len(draws) != len(pixels):
        raise ValueError(f"{len(pixels)} views, {len(draws)} keys")
    scale = (1 / torch.tensor(std)).view(1, 3, 1, 1)
    shift = (-torch.tensor(mean)).view(1, 3, 1, 1) * scale
    scale, shift = scale.to(pixels.device), shift.to(pixels.device)
    views = torch.empty(pixels.shape, device=pixels.device)
    # One at a time a sample stays in the processor's cache (2.4 times as fast as 48 at once), and no kernel can see
    # how many there are.
    step = 1 if pixels.device.type == "cpu" else max(1, len(pixels))
    for start in range(0, len(pixels), step):
        part = slice(start, start + step)
        torch.addcmul(shift, _coloured(pixels[part], recipe, draws[part]), scale, out=views[part])
    return views


def _drawn(keys: Sequence[int], seed: int, epoch: int, view: int) -> np.ndarray:
    """The draws of every key, (n,) of _DRAWS."""
    width = _DRAWS.itemsize // 8
    rows = [generator(seed, "view", epoch, key, view).random(width) for key in keys]
    return np.array(rows).reshape(len(rows), width).view(_DRAWS)[:, 0]


def _crop(image: np.ndarray, recipe: Recipe, draw: np.void) -> Tensor:
    """uint8 (3, px, px) of one image."""
    height, width = image.shape[:2]
    area = recipe.scale[0] + (recipe.scale[1] - recipe.scale[0]) * draw["area"]
    edge = (area * width * height) ** 0.5
    ratio = recipe.stretch ** (draw["stretch"] - 0.5)  # of a side to the square's; width over height is its square
    wide, high = min(width, edge * ratio), min(height, edge / ratio)
    wide, high = min(wide, high * recipe.stretch), min(high, wide * recipe.stretch)
    w, h = max(1, round(wide)), max(1, round(high))
    x, y = round(draw["x"] * (width - w)), round(draw["y"] * (height - h))
    pixels = torch.from_numpy(image[y : y + h, x : x + w]).permute(2, 0, 1)
    if (h, w) != (recipe.px, recipe.px):
        size = (recipe.px, recipe.px)
        pixels = functional.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
    if recipe.turn:
        swap, flip = divmod(int(8 * draw["turn"]), 4)
        pixels = (pixels.transpose(1, 2) if swap else pixels).flip(_TURNS[flip])
    return pixels


def _coloured(pixels: Tensor, recipe: Recipe, draws: np.ndarray) -> Tensor:
    """float32 (m, 3, px, px) in [0, 1] of uint8 pixels, before they are normalised."""
    views = pixels.float().div_(255)
    if recipe.hed:
        views = _restained(views, recipe.hed, draws)
    recoloured = (draws["jitter"] < recipe.jitter) | (draws["grey"] < recipe.grey)
    views = _some(views, draws, recoloured, lambda some, theirs: _jittered(some, recipe, theirs))
    views = _some(views, draws, draws["blur"] < recipe.blur, lambda some, theirs: _blurred(some, recipe, theirs))
    solarised = draws["solarise"] < recipe.solarise
    return _some(views, draws, solarised, lambda some, _: torch.where(some >= 0.5, 1 - some, some))


def _some(
    views: Tensor, draws: np.ndarray, chosen: np.ndarray, change: Callable[[Tensor, np.ndarray], Tensor]
) -> Tensor:
    """The views with those that were chosen changed, given them and their draws."""
    numbers = np.flatnonzero(chosen)
    if len(numbers) == 0:
        return views
    if len(numbers) == len(views):
        return change(views, draws)
    index = torch.from_numpy(numbers).to(views.device)
    return views.index_copy_(0, index, change(views[index], draws[numbers]))


def _restained(views: Tensor, strength: float, draws: np.ndarray) -> Tensor:
    """Every stain scaled and shifted: Tellez et al., IEEE Trans. Med. Imaging 37:2126, 2018, III-C.

    It comes first, since absorption adds up only in the light that the scanner saw. An amount of a stain never falls
    below zero; a colour that no amounts of the three can make keeps its negative part, and white stays at most white.
    """
    factors = _on(views, 1 + strength * (2 * draws["stain_factors"] - 1))[:, :, None, None]
    shifts = _on(views, strength * (2 * draws["stain_shifts"] - 1))[:, :, None, None]
    stains = _mixed(views.clamp(min=1 / 255).log_(), _TO_STAINS[None] / -_LOG_10)
    stains = torch.maximum(torch.addcmul(shifts, stains, factors), stains.clamp(max=0))
    return _mixed(stains, _FROM_STAINS[None] * -_LOG_10).exp_().clamp_(0, 1)


def _jittered(views: Tensor, recipe: Recipe, draws: np.ndarray) -> Tensor:
    """Jitter and grey.

    Brightness, contrast (about the view's mean luma), saturation and hue (a turn about the grey axis, in YIQ) are
    linear in the pixel and are applied together as one matrix and one offset, clipped once at the end.
    """
    jittered = draws["jitter"] < recipe.jitter

    def change(name: str) -> np.ndarray:
        return np.where(jittered, getattr(recipe, name) * (2 * draws[name] - 1), 0.0)[:, None, None]

    b, c, s = 1 + change("brightness"), 1 + change("contrast"), 1 + change("saturation")
    matrices = b * c * (s * _hue_turns(2 * np.pi * change("hue")[:, 0, 0]) + (1 - s) * _TO_LUMA)
    matrices = np.where((draws["grey"] < recipe.grey)[:, None, None], _TO_LUMA @ matrices, matrices)
    lumas = (views.mean(dim=(2, 3)) * _on(views, _LUMA)).sum(dim=1)
    offsets = (lumas * _on(views, b * (1 - c))[:, 0, 0]).view(-1, 1, 1, 1)
    return _mixed(views, matrices).add_(offsets).clamp_(0, 1)


def _hue_turns(angles: np.ndarray) -> np.ndarray:
    """(n, 3, 3) that turn colours by angles (n,), radians."""
    turns = np.zeros((len(angles), 3, 3))
    turns[:, 0, 0] = 1
    turns[:, 1, 1] = turns[:, 2, 2] = np.cos(angles)
    turns[:, 2, 1] = np.sin(angles)
    turns[:, 1, 2] = -turns[:, 2, 1]
    return _FROM_YIQ @ turns @ _TO_YIQ


def _mixed(views: Tensor, matrices: np.ndarray) -> Tensor:
    """The channels of each view times its matrix: (m, 3, px, px) by (m, 3, 3) or (1, 3, 3)."""
    columns = _on(views, matrices)[..., None, None].unbind(dim=2)
    mixed = columns[0] * views[:, :1]
    return mixed.addcmul_(columns[1], views[:, 1:2]).addcmul_(columns[2], views[:, 2:])


def _blurred(views: Tensor, recipe: Recipe, draws: np.ndarray) -> Tensor:
    """Gaussian blur, the picture mirrored at its edges."""
    low, high = recipe.blur_sigma
    sigmas = np.maximum((low + (high - low) * draws["sigma"]) * recipe.px / 224, 1e-3)  # of 0: the picture itself
    reaches = np.minimum(np.ceil(_REACH * sigmas), recipe.px - 1)  # a mirror has no more than the picture
    reach = int(reaches.max())
    steps = np.arange(reach + 1)
    weights = np.exp(-0.5 * (steps / sigmas[:, None]) ** 2) * (steps <= reaches[:, None])
    weights /= 2 * weights.sum(axis=1, keepdims=True) - weights[:, :1]
    taps = _on(views, weights)[..., None, None, None].unbind(dim=1)
    padded = functional.pad(views, (reach,) * 4, mode="reflect")
    return _swept(_swept(padded, taps, 2), taps, 3)


def _swept(padded: Tensor, taps: Sequence[Tensor], dim: int) -> Tensor:
    """Symmetric weights, the middle's first, along a dimension: shorter by the reach at both ends."""
    reach = len(taps) - 1
    size = padded.shape[dim] - 2 * reach
    swept = padded.narrow(dim, reach, size) * taps[0]
    for step in range(1, reach + 1):
        for start in (reach - step, reach + step):
            swept.addcmul_(padded.narrow(dim, start, size), taps[step])
    return swept


def _on(views: Tensor, numbers: np.ndarray) -> Tensor:
    """float32 where the views are."""
    return torch.from_numpy(numbers.astype(np.float32)).to(views.device)
