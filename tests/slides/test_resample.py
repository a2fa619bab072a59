"""The one resize."""

import numpy as np

from raysweep.slides.cut import resample

from .slidemaker import ramp, tissue


def test_a_crop_of_the_right_size_is_kept():
    crop = tissue(64, 64)
    assert np.array_equal(next(resample([crop], 64)), crop)


def test_order_is_kept_and_sharing_a_call_changes_nothing():
    crops = [tissue(w, h, seed) for seed, (w, h) in enumerate([(90, 90), (64, 64), (91, 90), (90, 90), (91, 90)])]
    together = list(resample(crops, 64))
    for crop, patch in zip(crops, together, strict=True):
        assert patch.shape == (64, 64, 3)
        np.testing.assert_array_equal(next(resample([crop], 64)), patch)


def test_shrinking_averages():
    checks = np.zeros((128, 128, 3), np.uint8)
    checks[::2, ::2] = checks[1::2, 1::2] = 255
    small = next(resample([checks], 32))
    assert abs(small.astype(int) - 128).max() <= 2  # without antialiasing it would stay black and white


def test_positions_are_kept():
    small = next(resample([ramp(200, 200)], 50)).astype(float)
    expected = ramp(200, 200).reshape(50, 4, 50, 4, 3).mean(axis=(1, 3))
    assert abs(small - expected)[2:-2, 2:-2].max() <= 1.0


def test_a_patch_stays_what_it_was_when_the_next_ones_come():
    crops = [tissue(90, 90, seed) for seed in range(200)]  # more than share a call
    patches = list(resample(iter(crops), 64))
    assert len(patches) == 200
    for crop, patch in zip(crops, patches, strict=True):
        np.testing.assert_array_equal(patch, next(resample([crop], 64)))


def test_large_and_small_crops_take_the_same_way():
    large = tissue(900, 900)  # beyond what shares a call
    patches = list(resample([large, tissue(90, 90), large], 64))
    np.testing.assert_array_equal(patches[0], patches[2])
    assert abs(patches[0].astype(int).mean() - large.mean()) < 1
