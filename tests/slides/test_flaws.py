"""Flaws of single patches, on real ones: sharp patches pass, blurred ones do not."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from raysweep.slides.flaws import Judge
from raysweep.slides.slide import Slide
from raysweep.slides.tissue.find import find_tissue
from raysweep.slides.tissue.spec import TissueSpec
from raysweep.slides.tissue.stains import STAINS

from .slidemaker import glass, tissue
from .tissue.pictures import RECOLOURED, STAIN_OF, recolour

_ALL = ("blank", "blurred", "dark")
# Finest um per pixel at which each set is looked at: enlarged by no more than 1.3.
_FINEST = {"skin": 0.39, "frozen": 0.39, "glands": 0.5, "brain": 0.25, "nuclei": 0.25}


def flaw(patch, mpp, stain, reject):
    return flaws([patch], mpp, stain, reject)[0]


def flaws(patches, mpp, stain, reject):
    judge = Judge(len(patches[0]), mpp, stain, reject)
    return judge.flaws(patches, [judge.look(patch) for patch in patches])


def _cases(*mpps: float) -> list[tuple[str, float]]:
    return [(name, mpp) for name, finest in _FINEST.items() for mpp in mpps if mpp >= finest]


@pytest.fixture(scope="module")
def pictures(test_data):
    """Sharp pictures and their um per pixel; a part of each set. The scale of `nuclei` is a guess."""
    found = {}
    for name, folder, mpp, every in (
        ("glands", "glas/images", 0.62, 8),
        ("brain", "brain_nuclei/gbm40_emory/images", 0.25, 4),
        ("nuclei", "dsb2018_color/images", 0.25, 6),
    ):
        files = sorted((test_data / folder).glob("*"))[::every]
        found[name] = [np.asarray(Image.open(path).convert("RGB")) for path in files], mpp
    for name, file, mpp in (("skin", "CMU-1-Small-Region.svs", None), ("frozen", "TCGA-CR-7395-01A-01-TS1.svs", 0.5)):
        with Slide(test_data / "wsi" / file, mpp) as slide:
            found[name] = [slide.read(0, 400, 900, 1800, 2048)], slide.mpp
    return found


def _patches(pictures: list[np.ndarray], source_mpp: float, mpp: float, sigma_um: float = 0) -> Iterator[np.ndarray]:
    """Square patches of at most 256 px that are at least half stained."""
    for picture in pictures:
        sigma = sigma_um / source_mpp
        pixels = gaussian_filter(picture, (sigma, sigma, 0)) if sigma else picture
        px = min(256, int(min(picture.shape[:2]) * source_mpp / mpp))
        edge = min(round(px * mpp / source_mpp), *picture.shape[:2])
        for top in range(0, picture.shape[0] - edge + 1, edge):
            for left in range(0, picture.shape[1] - edge + 1, edge):
                patch = _resized(pixels[top : top + edge, left : left + edge], px)
                if (np.ptp(patch, axis=2) > 0.08 * patch.max(axis=2)).mean() > 0.5:
                    yield patch


def _resized(crop: np.ndarray, px: int) -> np.ndarray:
    if crop.shape[:2] == (px, px):
        return crop
    batch = torch.tensor(crop).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(batch, (px, px), mode="bicubic", antialias=True)
    return small[0].permute(1, 2, 0).contiguous().numpy()


def _jpeg(patch: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(patch).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize(("name", "mpp"), _cases(0.25, 0.39, 0.5, 0.75, 1.0, 2.0))
def test_real_sharp_patches_have_no_flaw(pictures, name, mpp):
    found = [flaw(patch, mpp, "he", _ALL) for patch in _patches(*pictures[name], mpp)]
    assert len(found) >= 1
    assert set(found) == {None}


@pytest.mark.parametrize("sigma_um", [1.5, 3.0])
@pytest.mark.parametrize(("name", "mpp"), _cases(0.25, 0.5, 1.0))
def test_real_blurred_patches_are_found(pictures, name, mpp, sigma_um):
    some, source_mpp = pictures[name]
    some = {"glands": some[::3], "frozen": [some[0][:, :1024]]}.get(name, some)  # of these two there are many
    patches = list(_patches(some, source_mpp, mpp, sigma_um))
    assert len(patches) >= 1
    for version in (patches, [_jpeg(patch, 80) for patch in patches]):
        share = np.mean([flaw(patch, mpp, "he", _ALL) == "blurred" for patch in version])
        assert share > 0.9


def test_in_large_pixels_blur_is_not_looked_for(pictures):
    assert {flaw(patch, 2.0, "he", _ALL) for patch in _patches(*pictures["frozen"], 2.0, sigma_um=3)} == {None}


@pytest.mark.parametrize("name", RECOLOURED)
def test_other_stains(pictures, name):
    source, mpp = pictures["frozen"]
    sharp = [recolour(patch, name) for patch in list(_patches(source, mpp, 0.5))[::4]]
    assert {flaw(patch, 0.5, STAIN_OF[name], _ALL) for patch in sharp} == {None}
    blurred = [gaussian_filter(patch, (5, 5, 0)) for patch in sharp]
    assert np.mean([flaw(patch, 0.5, STAIN_OF[name], _ALL) == "blurred" for patch in blurred]) > 0.95


def test_sharp_cells_among_glass_are_not_blurred(pictures):
    for patch in list(_patches(*pictures["frozen"], 0.5))[::4]:
        mostly_glass = patch.copy()
        mostly_glass[:, 64:] = 243
        assert flaw(mostly_glass, 0.5, "he", _ALL) is None


@pytest.mark.parametrize("quality", [30, 70, 95])
def test_glass_is_blank_whatever_its_noise(quality):
    rng = np.random.default_rng(0)
    noisy = (glass(256, 256) + rng.normal(0, 2, (256, 256, 3))).round().astype(np.uint8)
    assert flaw(noisy, 0.5, "he", _ALL) == "blank"
    assert flaw(_jpeg(noisy, quality), 0.5, "he", _ALL) == "blank"


@pytest.mark.parametrize(
    ("file", "mpp"), [("CMU-1-Small-Region.svs", None), ("TCGA-CR-7395-01A-01-TS1.svs", 0.5)], ids=["skin", "frozen"]
)
def test_real_glass_is_blank(test_data, file, mpp):
    with Slide(test_data / "wsi" / file, mpp) as slide:
        pixels, mpp = slide.read(0, 0, 0, *slide.size), slide.mpp
    mask = find_tissue(pixels, (mpp, mpp), TissueSpec(min_region_um2=0), "he").mask
    found = [
        flaw(pixels[top : top + 256, left : left + 256], mpp, "he", _ALL)
        for top in range(0, pixels.shape[0] - 255, 256)
        for left in range(0, pixels.shape[1] - 255, 256)
        if not mask[top : top + 256, left : left + 256].any()
    ]
    assert len(found) >= 10
    assert set(found) == {"blank"}


def test_one_colour_is_blank_and_a_few_cells_are_not():
    for colour in ((240, 232, 226), (120, 120, 120), (200, 120, 160)):
        assert flaw(np.full((224, 224, 3), colour, np.uint8), 0.5, "he", _ALL) == "blank"
    patch = glass(224, 224)
    patch[100:140, 100:140] = tissue(40, 40)
    assert flaw(patch, 0.5, "he", _ALL) is None


def test_dark():
    patch = tissue(224, 224)
    assert flaw(patch, 0.5, "he", _ALL) is None
    assert flaw((patch * 0.22).astype(np.uint8), 0.5, "he", _ALL) == "dark"
    assert flaw(np.zeros((224, 224, 3), np.uint8), 0.5, "he", _ALL) == "dark"
    patch[:, :100] = 0
    assert flaw(patch, 0.5, "he", _ALL) is None


def test_only_what_is_asked_for():
    black, blurred = np.zeros((224, 224, 3), np.uint8), gaussian_filter(tissue(224, 224), (8, 8, 0))
    assert flaw(black, 0.5, "he", ("blank", "blurred")) == "blank"
    assert flaw(black, 0.5, "he", ("blurred",)) is None
    assert flaw(blurred, 0.5, "he", _ALL) == "blurred"
    assert flaw(blurred, 0.5, "he", ("blank", "dark")) is None
    assert flaw(black, 0.5, "he", ()) is None


@pytest.mark.parametrize("px", [8, 13, 31, 64, 100, 224, 1000])
@pytest.mark.parametrize("mpp", [0.05, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("stain", STAINS)
def test_patches_of_any_size(px, mpp, stain):
    assert flaw(np.full((px, px, 3), 245, np.uint8), mpp, stain, _ALL) == "blank"
    assert flaw(np.random.default_rng(0).integers(0, 256, (px, px, 3), np.uint8), mpp, stain, _ALL) is None


def test_a_batch_is_judged_patch_by_patch():
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 256, (224, 224, 3), np.uint8)
    patches = np.stack([sharp, np.full_like(sharp, 245), sharp // 6, _ramp(224).astype(np.uint8), sharp])
    assert flaws(patches, 0.5, "he", _ALL) == [flaw(patch, 0.5, "he", _ALL) for patch in patches]
    assert flaws(patches, 0.5, "he", _ALL) == [None, "blank", "dark", "blurred", None]


def _ramp(px):
    return np.indices((px, px)).sum(0)[..., None].repeat(3, axis=2).astype(float) / (2 * px) * 200 + 20
