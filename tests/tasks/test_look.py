"""Pictures that look alike, and pictures that do not."""

import io
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from raysweep.tasks.look import look_alikes, look_of, resemble


def picture(seed, size=(160, 120)):
    """Smooth blobs of colour."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def bits(a, b):
    return (look_of(a) ^ look_of(b)).bit_count()


@pytest.mark.parametrize("seed", range(5))
def test_a_picture_saved_anew_scaled_blurred_or_brightened_looks_the_same(seed):
    original = picture(seed)
    buffer = io.BytesIO()
    original.save(buffer, "JPEG", quality=60)
    brighter = original.point(lambda value: value * 0.8 + 20)
    for other in (
        Image.open(buffer),
        original.resize((80, 60)),
        original.filter(ImageFilter.GaussianBlur(1)),
        brighter,
    ):
        assert bits(original, other.convert("RGB")) <= 3
        assert resemble(original, other.convert("RGB"))


@pytest.mark.parametrize("turn", list(Image.Transpose))
def test_turned_and_mirrored_pictures_look_the_same(turn):
    original = picture(7, (128, 128))
    assert bits(original, original.transpose(turn)) <= 1
    assert resemble(original, original.transpose(turn))


def test_flat_pictures_look_like_nothing_and_others_like_themselves_alone():
    assert look_of(Image.new("RGB", (50, 50), (240, 240, 240))) == 0
    looks = [look_of(picture(seed)) for seed in range(60)]
    assert look_alikes(looks, [str(i) for i in range(60)], [str(i) for i in range(60)]) == []


def test_different_and_flat_pictures_do_not_resemble_each_other():
    assert not any(resemble(picture(seed), picture(seed + 1)) for seed in range(20))
    flat = Image.new("RGB", (50, 50), (240, 240, 240))
    assert not resemble(flat, flat)


@given(st.integers(0, 2**32), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_every_pair_within_three_bits_is_found_and_no_other(seed, n_flips):
    rng = random.Random(seed)
    looks = [rng.getrandbits(64) | 1 << 63 for _ in range(300)]
    changed = looks[17]
    for bit in rng.sample(range(63), n_flips):
        changed ^= 1 << bit
    looks.append(changed)
    names = [str(i) for i in range(301)]
    assert look_alikes(looks, names, names) == ([(17, 300)] if n_flips <= 3 else [])


def test_only_other_units_and_other_bytes_are_told():
    assert look_alikes([5, 5, 4], ["p", "p", "p"], ["x", "y", "z"]) == []
    assert look_alikes([5, 5, 4], ["p", "q", "r"], ["x", "x", "x"]) == []
    assert look_alikes([5, 5, 5], ["p", "q", "r"], ["x", "x", "y"]) == [(0, 2)]
    assert look_alikes([5, 5, 4], ["p", "p", "q"], ["x", "y", "y"]) == [(0, 2)]
    assert look_alikes([0, 0], ["p", "q"], ["x", "y"]) == []


def test_many_copies_are_named_once():
    names = [str(i) for i in range(3000)]
    assert look_alikes([9] * 3000, names, names) == [(0, 1)]
