import numpy as np
import pytest
import torch

from raysweep.patches.recipe import Recipe
from raysweep.patches.views import make_views

FULL = Recipe(
    24, scale=(0.3, 1.0), stretch=4 / 3, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1,
    grey=0.3, blur=0.5,
)  # fmt: skip
RAW = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def images(n: int, px: int = 32) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (n, px, px, 3), dtype=np.uint8))


def view(recipe: Recipe, pictures, keys, *, seed=0, epoch=0, number=0, **how) -> torch.Tensor:
    return make_views(pictures, keys, recipe, seed=seed, epoch=epoch, view=number, **{**RAW, **how})


def test_a_view_depends_on_seed_epoch_key_and_view_alone():
    pictures, keys = images(6), [5, 2**64 - 1, 9, 11, 0, 3]
    together = view(FULL, pictures, keys)
    alone = torch.cat([view(FULL, [picture], [key]) for picture, key in zip(pictures, keys, strict=True)])
    assert torch.equal(together, alone)
    assert torch.equal(together.flip(0), view(FULL, pictures[::-1], keys[::-1]))


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"number": 1}])
def test_another_seed_epoch_or_view_is_another_picture(other):
    assert not torch.equal(view(FULL, images(1), [5]), view(FULL, images(1), [5], **other))
    assert not torch.equal(view(FULL, images(1), [5]), view(FULL, images(1), [6]))


def test_a_recipe_without_chance_gives_the_picture_itself():
    picture = images(1)[0]
    plain = view(Recipe(32, turn=False), [picture], [0])[0]
    torch.testing.assert_close(plain, torch.from_numpy(picture).permute(2, 0, 1) / 255)


def test_pixels_are_normalised_by_channel():
    picture = np.full((8, 8, 3), (255, 0, 51), np.uint8)
    out = view(Recipe(8), [picture], [0], mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 0.1))[0]
    torch.testing.assert_close(out.mean(dim=(1, 2)), torch.tensor([1.0, -1.0, 2.0]))


def test_all_eight_turns_come_up_equally_and_keep_the_pixels():
    picture = np.arange(16 * 3, dtype=np.uint8).reshape(4, 4, 3)
    seen: dict[bytes, int] = {}
    for key in range(800):
        out = view(Recipe(4), [picture], [key])[0]
        assert out.sum() == pytest.approx(picture.sum() / 255, rel=1e-5)
        seen[out.numpy().tobytes()] = seen.get(out.numpy().tobytes(), 0) + 1
    assert len(seen) == 8
    assert min(seen.values()) > 60  # 100 expected


def test_crops_stay_inside_their_scale():
    """A ramp tells how much of it a view shows."""
    ramp = np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], 100, axis=0).repeat(3, axis=2)
    recipe = Recipe(50, scale=(0.25, 0.64), turn=False)
    widths = [np.ptp(view(recipe, [ramp], [key]).numpy()) * 255 / 2 + 1 for key in range(200)]
    assert min(widths) > 46
    assert max(widths) < 84
    assert max(widths) - min(widths) > 20
    assert np.mean(widths) / 100 == pytest.approx(recipe.zoom, abs=0.03)


def test_grey_has_equal_channels_and_keeps_the_luma():
    picture = images(1)[0]
    grey = view(Recipe(32, turn=False, grey=1.0), [picture], [0])[0]
    luma = torch.from_numpy(picture @ np.array([0.299, 0.587, 0.114]) / 255).float()
    for channel in grey:
        torch.testing.assert_close(channel, luma)


def test_jitter_of_brightness_contrast_saturation_and_hue():
    grey = np.full((8, 8, 3), 100, np.uint8)
    only = {"turn": False, "jitter": 1.0}
    bright = [view(Recipe(8, **only, brightness=0.4), [grey], [k]).mean().item() * 255 for k in range(300)]
    assert 60 <= min(bright) < 65
    assert 135 < max(bright) <= 140.01
    for kind in ({"contrast": 0.4}, {"saturation": 0.4}, {"hue": 0.1}):  # of an even grey, none changes anything
        torch.testing.assert_close(view(Recipe(8, **only, **kind), [grey], [1]), torch.full((1, 3, 8, 8), 100 / 255))
    soft = images(1)[0] // 4 + 96
    hue = view(Recipe(32, **only, hue=0.1), [soft], [1])[0].numpy()
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(np.tensordot(luma, hue, 1), soft @ luma / 255, atol=2e-3)
    assert np.abs(hue - soft.transpose(2, 0, 1) / 255).max() > 0.01
    flat = view(Recipe(32, **only, contrast=1.0), [soft], [1])[0]
    assert flat.mean().item() * 255 == pytest.approx(soft.mean(), abs=1.5)


def test_blur_keeps_even_areas_and_softens_edges():
    halves = np.zeros((224, 224, 3), np.uint8)
    halves[:, 112:] = 200
    recipe = Recipe(224, turn=False, blur=1.0)
    out = view(recipe, [halves], [3])[0, 0]
    assert out[0, 0] == pytest.approx(0)
    assert out[0, -1].item() == pytest.approx(200 / 255, rel=1e-5)
    assert 0 < out[100, 111] < 100 / 255 < out[100, 112] < 200 / 255
