"""Finding tissue on thumbnails."""

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from scipy.ndimage import uniform_filter

from raysweep.errors import RequestError
from raysweep.slides.slide import Slide
from raysweep.slides.tissue.find import NotBrightfield, find_tissue
from raysweep.slides.tissue.methods import GIVEN, method_names
from raysweep.slides.tissue.methods.otsu import _tint
from raysweep.slides.tissue.picture import Picture
from raysweep.slides.tissue.spec import TissueSpec
from raysweep.slides.tissue.stains import STAINS

from ..slidemaker import glass, slide_with_tissue, tissue
from .pictures import RECOLOURED, STAIN_OF, recolour

_UM = (8.0, 8.0)


def _mask(picture, um=_UM, stain="he", **spec):
    return find_tissue(picture, um, TissueSpec(**spec), stain).mask


@pytest.mark.parametrize("method", ["otsu", "hsv"])
def test_a_thumbnail_of_tissue_only_is_all_tissue(method):
    assert _mask(tissue(200, 100), method=method).all()


@pytest.mark.parametrize("method", ["otsu", "hsv"])
def test_a_thumbnail_of_glass_only_has_none(method):
    noisy = glass(200, 100).astype(int) + np.random.default_rng(0).integers(-2, 3, (100, 200, 3))
    assert not _mask(noisy.astype(np.uint8), method=method).any()


@pytest.mark.parametrize("method", ["otsu", "hsv"])
def test_the_mask_is_where_the_tissue_is(method):
    picture = slide_with_tissue(200, 100, (40, 20, 160, 90))
    expected = np.zeros((100, 200), bool)
    expected[20:90, 40:160] = True
    np.testing.assert_array_equal(_mask(picture, method=method), expected)
    fine = _mask(picture, (0.5, 0.5), method=method)  # colours are means over 8 um: the border is known to half of that
    assert fine[28:82, 48:152].all()
    outside = fine.copy()
    outside[12:98, 32:168] = False
    assert not outside.any()


def test_faint_stain_on_tinted_glass_is_told_apart_by_otsu():
    picture = np.full((100, 200, 3), (240, 232, 226), np.uint8)  # saturation 0.058: above the lower bound
    picture[:50] = (225, 200, 190)  # 0.156: above the upper bound
    mask = _mask(picture)
    assert mask[:50].all()
    assert not mask[50:].any()


_TINTS = [(240, 225, 205), (235, 215, 200), (240, 230, 215), (225, 235, 240)]  # saturation 15, 15, 10 and 6 per cent


@pytest.mark.parametrize("tint", _TINTS)
@pytest.mark.parametrize("stain", ["he", "ihc", "trichrome", "cytology"])
def test_tinted_glass_beside_tissue_is_none(tint, stain):
    picture = slide_with_tissue(200, 100, (40, 20, 160, 90)).astype(int)
    expected = (picture != glass(200, 100)).any(axis=2)
    picture[~expected] = tint
    picture = (picture + np.random.default_rng(0).integers(-1, 2, picture.shape)).astype(np.uint8)
    np.testing.assert_array_equal(_mask(picture, stain=stain), expected)
    picture[:, 170:] = 255  # where a slide has no pixels it is white
    np.testing.assert_array_equal(_mask(picture, stain=stain), expected)


@pytest.mark.parametrize("tint", _TINTS)
@pytest.mark.parametrize("slide", ["skin", "frozen", "glands"])
def test_real_tissue_is_the_same_on_tinted_glass(thumbnails, slide, tint):
    picture, um = thumbnails[slide]
    clear = _mask(picture, um, exclude=[])
    tinted = _mask((picture * np.array(tint) / 244).clip(0, 255).round().astype(np.uint8), um, exclude=[])
    assert tinted[clear].mean() > 0.9
    assert tinted[~clear].mean() < 0.03


@pytest.mark.parametrize("folder", ["glas/images", "dsb2018_color/images", "brain_nuclei/gbm40_emory/images"])
def test_crops_without_glass_have_none_that_is_tinted(test_data, folder):
    files = sorted((test_data / folder).glob("*"))
    for path in files[:: max(1, len(files) // 30)]:
        picture = np.asarray(Image.open(path).convert("RGB"))
        coarse = Picture(np.asarray(Image.fromarray(picture).reduce(4)), (2.0, 2.0), STAINS["he"]).smooth(8.0)
        assert _tint(coarse, coarse.value > 38) == 0


def test_pale_tissue_beside_dense_is_tissue():
    picture = slide_with_tissue(200, 100, (100, 0, 200, 100))
    picture[:, 40:100] = (230, 205, 215)  # saturation 0.11, where Otsu's threshold lies above 0.2
    assert _mask(picture)[:, 40:].all()
    assert not _mask(picture)[:, :40].any()


def test_black_padding_is_not_tissue():
    picture = tissue(200, 100)
    picture[:, 101:] = (0, 0, 12)  # fully saturated, but nearly black
    mask = _mask(picture)
    assert mask[:, :101].all()
    assert not mask[:, 101:].any()


def test_specks_are_dropped_and_small_holes_are_filled():
    picture = slide_with_tissue(200, 100, (40, 20, 160, 90))
    picture[2:5, 2:5] = (110, 60, 140)  # 576 um2
    picture[40:50, 60:70] = picture[0, 0]  # 6,400 um2
    picture[40:60, 100:120] = picture[0, 0]  # 25,600 um2
    mask = _mask(picture)
    assert not mask[:10, :10].any()
    assert mask[40:50, 60:70].all()
    assert not mask[40:60, 100:120].any()
    exact = _mask(picture, min_region_um2=0, max_hole_um2=0)
    assert exact[2:5, 2:5].all()
    assert not exact[40:50, 60:70].any()


@pytest.mark.parametrize("method", GIVEN)
def test_a_given_mask_is_kept_to_the_pixel(method):
    given = np.zeros((100, 200), bool)
    given[3, 4] = True
    given[20:80, 20:80] = True
    given[30:32, 30:32] = False
    spec = TissueSpec(method=method, exclude=[])
    np.testing.assert_array_equal(find_tissue(tissue(200, 100), _UM, spec, "he", given=given).mask, given)
    clean = TissueSpec(method=method, exclude=[], min_region_um2=100, max_hole_um2=300)
    found = find_tissue(tissue(200, 100), _UM, clean, "he", given=given).mask
    assert not found[3, 4]
    assert found[20:80, 20:80].all()


def test_a_given_mask_has_to_have_the_size_of_the_thumbnail():
    for wrong in (None, np.ones((100, 201), bool)):
        with pytest.raises(ValueError, match="needs a mask of 200 x 100 pixels"):
            find_tissue(tissue(200, 100), _UM, TissueSpec(method="mask"), "he", given=wrong)


def test_all_is_everything_but_what_is_excluded():
    picture = glass(200, 100)
    assert _mask(picture, method="all").all()
    picture[:, 50:100] = (20, 120, 60)
    kinds = ["pen", "fold", "bubble", "edge"]
    found = find_tissue(picture, _UM, TissueSpec(method="all", exclude=kinds), "he")
    assert set(found.excluded) == {"pen", "fold", "bubble", "edge"}
    assert found.excluded["pen"][:, 50:100].all()
    np.testing.assert_array_equal(found.mask, ~found.excluded["pen"])
    assert find_tissue(picture, _UM, TissueSpec(method="all"), "he").mask.all()
    assert find_tissue(np.zeros((60, 60, 3), np.uint8), _UM, TissueSpec(method="all"), "he").mask.all()


def test_hsv_knows_the_stain():
    green = np.full((50, 50, 3), (150, 210, 180), np.uint8)
    assert not _mask(green, method="hsv", exclude=[]).any()
    assert _mask(green, method="hsv", stain="cytology").all()
    assert _mask(green, method="otsu", exclude=[]).all()


def test_an_unknown_stain_is_refused():
    with pytest.raises(RequestError, match=r"^stain pas: .*he, ihc, cytology, trichrome$"):
        find_tissue(tissue(50, 50), _UM, TissueSpec(), "pas")


def test_every_method_runs():
    given = np.ones((60, 60), bool)
    assert {"otsu", "hsv", "mask", "annotations", "all"} <= set(method_names())
    for name in method_names():
        assert find_tissue(tissue(60, 60), _UM, TissueSpec(method=name), "he", given=given).mask.all()


def _fluorescence():
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[20:60, 20:100, 2] = 180
    return picture


def test_a_dark_background_is_refused_unless_asked_for():
    for dark in (_fluorescence(), np.zeros((10, 10, 3), np.uint8)):
        with pytest.raises(NotBrightfield, match="not brightfield"):
            find_tissue(dark, _UM, TissueSpec(), "he")
    found = find_tissue(_fluorescence(), _UM, TissueSpec(dark_background=True), "he")
    assert found.mask[20:60, 20:100].all()
    assert found.mask.mean() == pytest.approx(0.16, abs=0.06)
    assert not found.excluded
    assert not find_tissue(np.zeros((10, 10, 3), np.uint8), _UM, TissueSpec(dark_background=True), "he").mask.any()


def test_black_padding_does_not_make_a_slide_dark():
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[:, :60] = slide_with_tissue(60, 100, (10, 10, 50, 90))
    assert _mask(picture).sum() == 40 * 80


@pytest.mark.parametrize("share", [0.3, 0.61, 0.9])
@pytest.mark.parametrize("white", [255, 254])
def test_a_white_margin_does_not_make_fluorescence_bright(share, white):
    picture = _fluorescence().repeat(4, axis=0).repeat(4, axis=1)
    margin = int(share * 800)
    picture = np.roll(picture, margin // 2, axis=1)
    picture[:, :margin] = white
    picture[:, margin] = 128  # a thumbnail's pixels are means of what they cover
    with pytest.raises(NotBrightfield):
        find_tissue(picture, _UM, TissueSpec(), "he")


def test_white_glass_and_black_padding_are_still_brightfield():
    picture = np.full((100, 200, 3), 255, np.uint8)
    picture[:, :120] = 0
    assert not _mask(picture[:, 110:]).any()
    picture[40:60, 140:160] = tissue(20, 20)
    assert _mask(picture).sum() == 400
    assert not _mask(np.full((50, 50, 3), 255, np.uint8)).any()


@pytest.mark.parametrize(
    "request_",
    [
        {"method": "mask", "annotations": ["tumor"]},
        {"method": "hsv", "dark_background": True},
        {"method": "otzu"},
        {"min_region_um2": -1},
        {"exclude": ["tears"]},
    ],
)
def test_requests_that_make_no_sense(request_):
    with pytest.raises(ValidationError):
        TissueSpec(**request_)


def test_what_is_not_looked_for_on_a_dark_background():
    assert TissueSpec().rejected == ("blank", "blurred", "dark")
    assert TissueSpec(dark_background=True).rejected == ("blurred",)
    assert TissueSpec(reject=["dark"]).rejected == ("dark",)
    assert TissueSpec(method="all").rejected == ()
    assert TissueSpec(method="all", reject=["dark"]).rejected == ("dark",)


def _stained(picture, um):
    """Bool (h, w): where the mean of 8 um lets clearly less light through than glass."""
    size = round(8 / um) | 1
    return np.stack([uniform_filter(picture[..., i], size) for i in range(3)]).min(axis=0) < 225


@pytest.mark.parametrize("slide", ["skin", "frozen", "glands"])
def test_what_is_stained_on_real_slides_is_tissue_and_glass_is_not(thumbnails, slide):
    picture, um = thumbnails[slide]
    stained = _stained(picture, um[0])
    mask = _mask(picture, um, exclude=[], min_region_um2=0, max_hole_um2=0)
    assert mask[stained].mean() > 0.92
    assert mask[~stained].mean() < 0.005


@pytest.mark.parametrize("name", RECOLOURED)
@pytest.mark.parametrize("slide", ["skin", "frozen"])
def test_what_is_stained_otherwise_is_tissue_and_glass_is_not(thumbnails, slide, name):
    picture, um = thumbnails[slide]
    picture = recolour(picture, name)
    stained = _stained(picture, um[0])
    mask = _mask(picture, um, STAIN_OF[name], exclude=[], min_region_um2=0, max_hole_um2=0)
    assert mask[stained].mean() > (0.55 if STAIN_OF[name] == "ihc" else 0.8)  # its counterstain is hardly coloured
    assert mask[~stained].mean() < 0.005


def test_the_scale_of_the_thumbnail_matters_little(test_data):
    with Slide(test_data / "wsi" / "CMU-1-Small-Region.svs") as slide:
        shares = []
        for px in (2000, 700, 250):
            picture = slide.thumbnail(px)
            um = slide.mpp * slide.size[0] / picture.shape[1]
            shares.append(_mask(picture, (um, um)).mean())
    assert 0.3 < min(shares) <= max(shares) < 0.45
    assert np.ptp(shares) < 0.02


def test_a_real_fluorescence_slide(test_data):
    with Slide(test_data / "wsi" / "test3-DAPI.ndpi") as slide:
        picture = slide.thumbnail(600)
        um = slide.mpp * slide.size[0] / picture.shape[1]
    with pytest.raises(NotBrightfield):
        find_tissue(picture, (um, um), TissueSpec(), "he")
    assert 0.2 < _mask(picture, (um, um), dark_background=True).mean() < 0.5
