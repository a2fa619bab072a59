from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from skimage.color import hed_from_rgb, rgb_from_hed
from torchvision.transforms import ColorJitter, RandomResizedCrop
from torchvision.transforms import functional as reference

from raysweep.patches.recipe import Recipe
from raysweep.patches.views import _coloured, _drawn, colour_views, crop_views, make_views

FULL = Recipe(
    24, scale=(0.3, 1.0), stretch=4 / 3, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1,
    grey=0.3, blur=0.5, solarise=0.3, hed=0.05,
)  # fmt: skip
RAW = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
NORMAL = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def images(n: int, px: int = 32) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (n, px, px, 3), dtype=np.uint8))


def soft(px: int = 32) -> np.ndarray:
    """Colours that no factor up to 1.8 clips."""
    return np.random.default_rng(1).integers(60, 130, (px, px, 3), dtype=np.uint8)


def planes(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1).float() / 255


def view(recipe: Recipe, pictures, keys, *, seed=0, epoch=0, number=0, **how) -> torch.Tensor:
    return make_views(pictures, keys, recipe, seed=seed, epoch=epoch, view=number, **{**RAW, **how})


def many(recipe: Recipe, picture: np.ndarray, n: int) -> torch.Tensor:
    return view(recipe, [picture] * n, range(n))


def ramps(height: int, width: int, step: int) -> np.ndarray:
    """Red tells the column, green the row."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = step * np.arange(width)
    picture[..., 1] = step * np.arange(height)[:, None]
    return picture


def boxes(recipe: Recipe, height: int, width: int, step: int, n: int) -> np.ndarray:
    """x, y, w, h (n, 4) of crops, in pixels, read off views of ramps; what lies near a view's edge is left out."""
    views = crop_views([ramps(height, width, step)] * n, range(n), recipe, seed=0, epoch=0, view=0).numpy() / step
    inside = np.arange(2, recipe.px - 2)
    columns, rows = views[:, 0].mean(1)[:, inside], views[:, 1].mean(2)[:, inside]
    at = (inside + 0.5) / recipe.px
    found = []
    for line in (columns, rows):
        slope, start = np.polyfit(at, line.T, 1)
        found += [start + 0.5, slope]
    return np.array(found)[[0, 2, 1, 3]].T


def test_a_view_depends_on_seed_epoch_key_and_view_alone():
    pictures, keys = images(6), [5, 2**64 - 1, 9, 11, 0, 3]
    together = view(FULL, pictures, keys)
    alone = torch.cat([view(FULL, [picture], [key]) for picture, key in zip(pictures, keys, strict=True)])
    assert torch.equal(together, alone)
    assert torch.equal(together.flip(0), view(FULL, pictures[::-1], keys[::-1]))


@pytest.mark.parametrize(("threads", "largest"), [(1, 64), (2, 16)])
def test_a_view_is_the_same_to_the_bit_in_batches_of_any_size(threads, largest):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        recipe = replace(FULL, px=112)  # large enough for torch to divide the work among its threads
        pictures, keys = images(largest), range(largest)
        whole = view(recipe, pictures, keys, **NORMAL)
        for n in (1, 7):
            parts = [view(recipe, pictures[i : i + n], keys[i : i + n], **NORMAL) for i in range(0, largest, n)]
            assert torch.equal(whole, torch.cat(parts))
    finally:
        torch.set_num_threads(before)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=4),
    px=st.integers(1, 40),
    data=st.data(),
)
def test_views_of_images_of_any_sizes(sizes, px, data):
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    pictures = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    keys = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=len(sizes), max_size=len(sizes)))
    recipe = replace(FULL, px=px)
    views = view(recipe, pictures, keys)
    assert views.shape == (len(sizes), 3, px, px)
    assert views.dtype == torch.float32
    assert bool(((views >= 0) & (views <= 1)).all())
    some = data.draw(st.lists(st.sampled_from(range(len(sizes))), unique=True)) if sizes else []
    assert torch.equal(views[some], view(recipe, [pictures[i] for i in some], [keys[i] for i in some]))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 3000), (700, 40)])
def test_images_of_extreme_shapes_keep_their_colour(size):
    picture = np.full((*size, 3), (200, 10, 90), np.uint8)
    views = crop_views([picture] * 20, range(20), FULL, seed=0, epoch=0, view=0)
    assert torch.equal(views, torch.tensor([200, 10, 90], dtype=torch.uint8).view(1, 3, 1, 1).expand_as(views))


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"number": 1}])
def test_another_seed_epoch_or_view_is_another_picture(other):
    assert not torch.equal(view(FULL, images(1), [5]), view(FULL, images(1), [5], **other))
    assert not torch.equal(view(FULL, images(1), [5]), view(FULL, images(1), [6]))


def test_as_many_keys_as_pictures():
    with pytest.raises(ValueError, match="shorter"):
        crop_views(images(2), [1], FULL, seed=0, epoch=0, view=0)
    pixels = torch.zeros(2, 3, 24, 24, dtype=torch.uint8)
    with pytest.raises(ValueError, match="2 views, 1 keys"):
        colour_views(pixels, [1], FULL, seed=0, epoch=0, view=0, **RAW)


def test_a_recipe_without_chance_gives_the_picture_itself():
    picture = images(1)[0]
    plain = view(Recipe(32, turn=False), [picture], [0])[0]
    torch.testing.assert_close(plain, planes(picture))


def test_pixels_are_normalised_by_channel():
    picture = np.full((8, 8, 3), (255, 0, 51), np.uint8)
    out = view(Recipe(8), [picture], [0], mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 0.1))[0]
    torch.testing.assert_close(out.mean(dim=(1, 2)), torch.tensor([1.0, -1.0, 2.0]))


def test_all_eight_turns_come_up_equally_and_keep_the_pixels():
    picture = np.arange(16 * 3, dtype=np.uint8).reshape(4, 4, 3)
    seen: dict[bytes, int] = {}
    for out in many(Recipe(4), picture, 800):
        assert out.sum() == pytest.approx(picture.sum() / 255, rel=1e-5)
        seen[out.numpy().tobytes()] = seen.get(out.numpy().tobytes(), 0) + 1
    assert len(seen) == 8
    assert min(seen.values()) > 60  # 100 expected


def test_areas_shapes_and_places_of_crops_are_torchvisions():
    """Up to an area of 0.6 no crop of either is wider than the picture; then both draw from the same distributions."""
    recipe = Recipe(32, scale=(0.2, 0.6), stretch=4 / 3, turn=False)
    x, y, w, h = boxes(recipe, 64, 64, 4, 1500).T
    torch.manual_seed(0)
    theirs = [RandomResizedCrop.get_params(torch.empty(3, 64, 64), [0.2, 0.6], [3 / 4, 4 / 3]) for _ in range(1500)]
    ty, tx, th, tw = np.array(theirs, float).T
    for ours, other in ((w * h, tw * th), (w, tw), (h, th), (x, tx), (y, ty), (np.log(w / h), np.log(tw / th))):
        jitter = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 1500)) * min(1, np.ptp(other) / 10)  # whole pixels
        assert stats.ks_2samp(ours + jitter[0], other + jitter[1]).statistic < 0.06  # 5% level: 0.05
    together = np.corrcoef([w * h, w / h, x / (64 - w), y / (64 - h)])
    assert np.abs(together - np.eye(4)).max() < 0.08  # each has a draw of its own
    assert min(x.min(), y.min()) > -0.3
    assert max((x + w).max(), (y + h).max()) < 64.3


def test_large_crops_cover_about_as_much_as_torchvisions():
    """There torchvision draws again, which favours small areas, and here the crop is cut to the picture's edges."""
    for scale in ((0.2, 1.0), (0.8, 1.0)):
        recipe = Recipe(32, scale=scale, stretch=4 / 3, turn=False)
        found = boxes(recipe, 64, 64, 4, 600)
        torch.manual_seed(0)
        theirs = [RandomResizedCrop.get_params(torch.empty(3, 64, 64), [*scale], [3 / 4, 4 / 3]) for _ in range(600)]
        theirs_area = np.mean([h * w for _, _, h, w in theirs]) / 64**2
        area = (found[:, 2] * found[:, 3]).mean() / 64**2
        assert theirs_area - 0.01 < area < theirs_area + 0.06
        assert area < np.mean(scale)


def test_the_mean_edge_of_crops_is_the_zoom():
    recipe = Recipe(50, scale=(0.25, 0.64), turn=False)
    widths = boxes(recipe, 100, 100, 2, 300)[:, 2]
    assert widths.min() == pytest.approx(50, abs=1.5)
    assert widths.max() == pytest.approx(80, abs=1.5)
    assert widths.mean() / 100 == pytest.approx(recipe.zoom, abs=0.01)


@pytest.mark.parametrize("size", [(30, 120), (120, 30), (60, 80)])
def test_tissue_is_not_squeezed_whatever_the_shape_of_the_image(size):
    square = boxes(Recipe(32, scale=(0.5, 1.0), turn=False), *size, 2, 50)
    np.testing.assert_allclose(square[:, 2], square[:, 3], atol=0.6)
    stretched = boxes(Recipe(32, scale=(0.5, 1.0), stretch=4 / 3, turn=False), *size, 2, 50)
    ratios = stretched[:, 2] / stretched[:, 3]
    assert 0.72 < ratios.min() < ratios.max() < 1.38
    whole = boxes(Recipe(32, turn=False), *size, 2, 50)  # the largest square, anywhere along the image
    np.testing.assert_allclose(whole[:, 2:], min(size), atol=0.3)
    assert np.ptp(whole[:, :2], axis=0).max() > 0.7 * (max(size) - min(size))


def test_grey_is_torchvisions():
    picture = images(1)[0]
    grey = view(Recipe(32, turn=False, grey=1.0), [picture], [0])[0]
    torch.testing.assert_close(grey, reference.rgb_to_grayscale(planes(picture), 3), atol=1e-3, rtol=0)
    assert torch.equal(grey[0], grey[2])


def luma(views: torch.Tensor) -> torch.Tensor:
    return (views * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(dim=-3, keepdim=True)


FACTORS = {  # how strong each is in a picture
    "brightness": (lambda v: v.mean(dim=(1, 2, 3)), reference.adjust_brightness),
    "contrast": (lambda v: luma(v).std(dim=(1, 2, 3)), reference.adjust_contrast),
    "saturation": (lambda v: (v - luma(v)).square().mean(dim=(1, 2, 3)).sqrt(), reference.adjust_saturation),
}


@pytest.mark.parametrize("name", FACTORS)
def test_a_factor_is_drawn_and_does_as_torchvisions(name):
    strength, adjust = FACTORS[name]
    picture = soft()
    views = many(Recipe(32, turn=False, jitter=1.0, **{name: 0.8}), picture, 500)
    factors = strength(views) / strength(planes(picture)[None])
    for out, factor in list(zip(views, factors, strict=True))[:20]:
        torch.testing.assert_close(out, adjust(planes(picture), float(factor)), atol=1e-3, rtol=0)
    low, high = getattr(ColorJitter(**{name: 0.8}), name)
    assert stats.kstest(factors.numpy(), stats.uniform(low, high - low).cdf).pvalue > 0.01


def test_hue_turns_the_way_and_as_far_as_torchvisions():
    """Theirs turns in HSV, which is no rotation of colours and changes their luma: only the direction is compared."""
    picture = soft()
    start = planes(picture)
    views = many(Recipe(32, turn=False, jitter=1.0, hue=0.05), picture, 300)
    torch.testing.assert_close(luma(views), luma(start).expand(300, -1, -1, -1), atol=1e-3, rtol=0)
    iq = torch.tensor([[0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    before, after = torch.complex(*torch.einsum("kc,chw->khw", iq, start)), torch.einsum("kc,nchw->nkhw", iq, views)
    turns = (torch.complex(after[:, 0], after[:, 1]) * before.conj()).sum(dim=(1, 2)).angle() / (2 * np.pi)
    assert stats.kstest(turns.numpy(), stats.uniform(-0.05, 0.1).cdf).pvalue > 0.01
    theirs = reference.adjust_hue(start, 0.03) - start
    theirs = (theirs - luma(theirs)).flatten()
    towards = [float(torch.cosine_similarity((out - start).flatten(), theirs, dim=0)) for out in views]
    far = np.abs(turns.numpy()) > 0.01
    assert np.abs(np.array(towards)[far]).min() > 0.8
    assert len({*np.sign(np.array(towards)[far] * turns.numpy()[far])}) == 1


def test_an_even_grey_has_nothing_to_jitter_but_its_brightness():
    grey = np.full((8, 8, 3), 100, np.uint8)
    for kind in ({"contrast": 0.4}, {"saturation": 0.4}, {"hue": 0.1}):
        same = view(Recipe(8, turn=False, jitter=1.0, **kind), [grey], [1])
        torch.testing.assert_close(same, torch.full((1, 3, 8, 8), 100 / 255))


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
@pytest.mark.parametrize("px", [56, 224])
def test_blur_is_torchvisions(sigma, px):
    picture = images(1, px)[0]
    here = sigma * px / 224
    out = view(Recipe(px, turn=False, blur=1.0, blur_sigma=(sigma, sigma)), [picture], [3])[0]
    theirs = reference.gaussian_blur(planes(picture), 2 * int(np.ceil(4 * here)) + 1, here)
    torch.testing.assert_close(out, theirs, atol=1e-5, rtol=0)
    assert reference.gaussian_blur(planes(picture), 2 * int(8 * here) + 3, here).sub(out).abs().max() < 1e-4


def test_a_blur_wider_than_the_picture_and_one_of_nothing():
    picture = images(1, 5)[0]
    wide = view(Recipe(5, turn=False, blur=1.0, blur_sigma=(1e4, 1e4)), [picture], [3])[0]
    assert wide.std(dim=(1, 2)).max() < 0.1 * planes(picture).std()
    none = view(Recipe(5, turn=False, blur=1.0, blur_sigma=(0.0, 0.0)), [picture], [3])[0]
    torch.testing.assert_close(none, planes(picture))


def test_sigmas_are_drawn_evenly():
    """A blurred step's steepest slope is 1 / (sigma sqrt(2 pi))."""
    halves = np.zeros((224, 224, 3), np.uint8)
    halves[:, 112:] = 255
    out = many(Recipe(224, turn=False, blur=1.0, blur_sigma=(1.0, 2.0)), halves, 100)
    slopes = (out[:, 0, 0, 112] - out[:, 0, 0, 111]).numpy()
    sigmas = 1 / (slopes * np.sqrt(2 * np.pi))  # of the step, which a pixel's own width makes a little wider
    assert stats.kstest(np.sqrt(sigmas**2 - 1 / 12), stats.uniform(1, 1).cdf).pvalue > 0.01


def test_solarise_is_torchvisions_and_comes_last():
    picture = images(1)[0]
    recipe = Recipe(32, turn=False, solarise=1.0)
    torch.testing.assert_close(view(recipe, [picture], [3])[0], reference.solarize(planes(picture), 0.5))
    blurred = Recipe(32, turn=False, blur=1.0)
    both = view(replace(blurred, solarise=1.0), [picture], [3])[0]
    torch.testing.assert_close(both, reference.solarize(view(blurred, [picture], [3])[0], 0.5))


def test_parts_come_as_often_as_the_recipe_says():
    picture = np.full((4, 4, 3), (150, 200, 100), np.uint8)
    for name, often in (("grey", 0.2), ("solarise", 0.3)):
        views = many(Recipe(4, turn=False, **{name: often}), picture, 1000)
        changed = (views - planes(picture)).abs().amax(dim=(1, 2, 3)) > 1e-3
        assert changed.float().mean().item() == pytest.approx(often, abs=0.04)


def stained(n: int = 32) -> np.ndarray:
    """Tissue of haematoxylin and eosin, some of both nearly nothing."""
    amounts = np.random.default_rng(2).uniform(0, [0.5, 0.5, 0.05], (n, n, 3))
    return np.round(255 * 10 ** -(amounts @ rgb_from_hed)).astype(np.uint8)


def amounts_of(views: torch.Tensor) -> np.ndarray:
    """Stains (..., px, px, 3) by scikit-image's matrix, decadic optical density."""
    return -np.log10(np.maximum(views.movedim(-3, -1).numpy(), 1 / 255)) @ hed_from_rgb


def test_hardly_any_stain_jitter_leaves_any_colour_as_it_is():
    colours = images(1, 64)[0]
    out = view(Recipe(64, turn=False, hed=1e-6), [colours], [0])[0]
    torch.testing.assert_close(out, planes(colours), atol=1 / 255 + 1e-4, rtol=0)


def test_each_stain_is_scaled_and_shifted():
    strength = 0.1
    picture = stained()
    before, after = amounts_of(planes(picture)), amounts_of(many(Recipe(32, turn=False, hed=strength), picture, 200))
    seen = []
    for stain in (0, 1):
        there = before[..., stain] > 0.15  # the floor and white are far away
        for one in after[..., stain]:
            factor, shift = np.polyfit(before[there, stain], one[there], 1)
            np.testing.assert_allclose(one[there], factor * before[there, stain] + shift, atol=2e-3)
            seen.append((factor, shift))
    factors, shifts = np.array(seen).T
    assert stats.kstest(factors, stats.uniform(1 - strength, 2 * strength).cdf).pvalue > 0.01
    assert stats.kstest(shifts, stats.uniform(-strength, 2 * strength).cdf).pvalue > 0.01


def test_stains_never_fall_below_nothing():
    picture = stained()
    least = amounts_of(planes(picture)).min()
    assert least > -0.02  # of rounding to bytes
    assert amounts_of(many(Recipe(32, turn=False, hed=0.3), picture, 100)).min() > least - 1e-3


def test_stains_stay_on_average():
    picture = stained()
    mean = many(Recipe(32, turn=False, hed=0.05), picture, 400).mean(dim=0)
    assert (mean - planes(picture)).abs().mean() < 2 / 255
    assert (many(Recipe(32, turn=False, hed=0.05), picture, 1)[0] - planes(picture)).abs().mean() > 2 / 255


def test_stains_come_before_grey():
    picture = stained()
    recipe = Recipe(32, turn=False, hed=0.1)
    grey = view(replace(recipe, grey=1.0), [picture], [5])[0]
    torch.testing.assert_close(grey, luma(view(recipe, [picture], [5])[0]).expand(3, -1, -1))


def test_a_batch_at_once_as_on_a_gpu_is_painted_as_one_by_one():
    recipe = replace(FULL, px=48)
    pixels = crop_views(images(40, 64), range(40), recipe, seed=0, epoch=0, view=0)
    one_by_one = colour_views(pixels, range(40), recipe, seed=0, epoch=0, view=0, **RAW)
    at_once = _coloured(pixels, recipe, _drawn(range(40), 0, 0, 0))
    torch.testing.assert_close(at_once, one_by_one, atol=1e-5, rtol=0)


def test_everything_is_done_on_the_device_of_the_pixels():
    """The meta device refuses to meet tensors of another one, as a GPU does."""
    pixels = torch.zeros(40, 3, 24, 24, dtype=torch.uint8, device="meta")
    views = colour_views(pixels, range(40), FULL, seed=0, epoch=0, view=0, **NORMAL)
    assert (views.device, views.dtype, views.shape) == (pixels.device, torch.float32, pixels.shape)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_paints_what_the_cpu_paints():
    recipe = replace(FULL, px=96)
    pixels = crop_views(images(48, 128), range(48), recipe, seed=0, epoch=0, view=0)
    how = {"seed": 0, "epoch": 0, "view": 0, **NORMAL}
    wanted = colour_views(pixels, range(48), recipe, **how)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")  # what a training may have set
    try:
        with torch.autocast("cuda", torch.bfloat16):
            found = colour_views(pixels.cuda(), range(48), recipe, **how)
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(found.cpu(), wanted, atol=2e-3, rtol=0)
