"""Drawn tissue: the right arrays, the same for the same stream, and kinds that show in form and not in colour."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from raysweep.demo.draw import KINDS, draw_tissue
from raysweep.demo.paint import stain_of
from raysweep.randomness import generator

PATIENTS, SIZE = 20, 96


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    """(kind, patient, h, w, 3), one picture of each kind for each patient."""
    return np.stack(
        [
            [
                draw_tissue(kind, (SIZE, SIZE), 0.75, stain_of(0, f"p{i}"), generator(0, kind, i)).rgb
                for i in range(PATIENTS)
            ]
            for kind in KINDS
        ]
    )


def accuracy(features: NDArray[np.float64]) -> float:
    """Of a linear model on features (kind, patient, n), for patients it has not seen."""
    kinds, patients = features.shape[:2]
    labels = np.repeat(np.arange(kinds), patients)
    groups = np.tile(np.arange(patients), kinds)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=10))
    rows = features.reshape(kinds * patients, -1)
    return float(cross_val_score(model, rows, labels, groups=groups, cv=GroupKFold(5)).mean())


def texture(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How much there is at four scales, how many dark things, and how white and dark it gets."""
    grey = pictures.mean(axis=-1)
    bands = [
        ndimage.gaussian_filter(grey, (0, 0, s, s)) - ndimage.gaussian_filter(grey, (0, 0, 2 * s, 2 * s))
        for s in (1, 2, 4, 8)
    ]
    found = [band.std(axis=(2, 3)) for band in bands] + [(band**3).mean(axis=(2, 3)) for band in bands]
    smooth = ndimage.gaussian_filter(grey, (0, 0, 1, 1))
    dark = smooth < np.percentile(smooth, 20, axis=(2, 3), keepdims=True)
    found.append(np.array([[ndimage.label(picture)[1] for picture in row] for row in dark], dtype=float))
    found += list(np.percentile(grey, [2, 98], axis=(2, 3)))
    return np.stack(found, axis=-1)


def test_the_mean_colour_does_not_give_the_kind_away(pictures: NDArray[np.uint8]) -> None:
    colour = pictures.mean(axis=(2, 3))
    curved = np.concatenate([colour, colour**2, colour * np.roll(colour, 1, axis=-1)], axis=-1)
    assert max(accuracy(colour), accuracy(curved)) < 1 / len(KINDS) + 0.15


def test_the_texture_gives_the_kind_away(pictures: NDArray[np.uint8]) -> None:
    assert accuracy(texture(pictures)) > 1 / len(KINDS) + 0.3


def test_patients_differ_in_colour_and_a_patient_is_the_same_everywhere(pictures: NDArray[np.uint8]) -> None:
    colour = pictures.mean(axis=(2, 3))
    between = colour.mean(axis=0).std(axis=0)
    within = (colour - colour.mean(axis=0)).std(axis=(0, 1))
    assert (between > 1.5 * within).all()
    assert (
        stain_of(0, "p1").colours.tobytes()
        == stain_of(0, "p1").colours.tobytes()
        != stain_of(1, "p1").colours.tobytes()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_stream_alone_decides_the_picture(kind: str) -> None:
    def draw(number: int) -> bytes:
        return draw_tissue(kind, (48, 72), 0.75, stain_of(0, "p"), generator(0, "x", number)).rgb.tobytes()

    assert draw(1) == draw(1) != draw(2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_drawing_has_its_shapes_and_only_glands_have_glands(kind: str) -> None:
    drawing = draw_tissue(kind, (120, 200), 0.5, stain_of(0, "p"), generator(0, "x"))
    assert drawing.rgb.shape == (120, 200, 3)
    assert drawing.rgb.dtype == np.uint8
    assert drawing.glands.shape == (120, 200)
    assert drawing.glands.any() == (kind == "gland")


def test_a_gland_is_a_ring_of_nuclei_around_a_pale_lumen() -> None:
    drawing = draw_tissue("gland", (400, 400), 0.5, stain_of(0, "p"), generator(0, "x"))
    grey, depth = drawing.rgb.mean(axis=-1), ndimage.distance_transform_edt(drawing.glands) * 0.5
    ring, middle = grey[(depth > 3) & (depth < 6)], grey[depth > 19]
    assert middle.mean() > ring.mean() + 60  # the glass shines through the lumen
    assert ring.mean() < grey[~drawing.glands].mean()


def test_beside_the_tissue_is_glass() -> None:
    tissue = np.zeros((100, 100), np.float32)
    tissue[:, :50] = 1
    stain = stain_of(0, "p")
    drawing = draw_tissue("gland", (100, 100), 0.5, stain, generator(0, "x"), tissue)
    assert np.abs(drawing.rgb[:, 60:].mean(axis=(0, 1)) - stain.glass).max() < 1
    assert not drawing.glands[:, 60:].any()
    assert drawing.rgb[:, :40].mean() < 200


def test_the_scale_changes_the_size_of_things_and_not_their_share() -> None:
    share = [
        draw_tissue("gland", (pixels, pixels), 200 / pixels, stain_of(0, "p"), generator(0, "x")).glands
        for pixels in (200, 400)
    ]
    components = [ndimage.label(glands)[1] for glands in share]
    assert abs(share[0].mean() - share[1].mean()) < 0.1
    assert 4 < components[0] < 16
    assert abs(components[0] - components[1]) <= 3
