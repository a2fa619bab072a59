"""Pictures and masks of every form that people store."""

import numpy as np
import pytest
from PIL import Image

from raysweep.errors import WorkError
from raysweep.tasks.files import load_image, load_mask


def save(tmp_path, picture, name="x.png", **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


def test_grey_palette_and_cmyk_become_rgb(tmp_path):
    grey = Image.fromarray(np.full((4, 5), 90, np.uint8))
    for picture, name in ((grey, "x.png"), (grey.convert("P"), "y.png"), (grey.convert("CMYK"), "z.tif")):
        loaded = load_image(save(tmp_path, picture, name))
        assert loaded.mode == "RGB"
        assert loaded.size == (5, 4)
        assert np.abs(np.asarray(loaded).astype(int) - 90).max() <= 1


def test_transparent_parts_become_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, 3] = 255
    loaded = np.asarray(load_image(save(tmp_path, Image.fromarray(pixels))))
    assert (loaded[:2] == 0).all()
    assert (loaded[2:] == 255).all()


def test_sixteen_bit_pictures_are_refused(tmp_path):
    with pytest.raises(WorkError, match="not an 8-bit picture"):
        load_image(save(tmp_path, Image.fromarray(np.full((4, 4), 4000, np.uint16))))


def test_masks_keep_their_numbers(tmp_path):
    wide = np.array([[0, 300], [65535, 1]], np.uint16)
    assert np.array_equal(load_mask(save(tmp_path, Image.fromarray(wide))), wide)
    palette = Image.fromarray(np.array([[0, 2], [1, 0]], np.uint8), mode="L").convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert load_mask(save(tmp_path, palette)).tolist() == np.asarray(palette).tolist()
    one = Image.fromarray(np.array([[True, False]]))
    assert load_mask(save(tmp_path, one)).tolist() == [[1, 0]]
    grey = np.repeat(np.array([[3, 0], [1, 2]], np.uint8)[..., None], 3, axis=2)
    assert load_mask(save(tmp_path, Image.fromarray(grey))).tolist() == [[3, 0], [1, 2]]
    assert load_mask(save(tmp_path, Image.fromarray(grey[..., 0]).convert("LA"))).tolist() == [[3, 0], [1, 2]]


def test_colour_and_fractional_masks_are_refused(tmp_path):
    colour = np.zeros((2, 2, 3), np.uint8)
    colour[0, 0] = (255, 0, 0)
    with pytest.raises(WorkError, match="colour picture"):
        load_mask(save(tmp_path, Image.fromarray(colour)))
    with pytest.raises(WorkError, match="no class numbers"):
        load_mask(save(tmp_path, Image.fromarray(np.full((2, 2), 0.5, np.float32)), "x.tif"))
