import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from raysweep.transfer.protocols import knn
from raysweep.transfer.protocols.knn import Knn

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3
FEATURES = (RNG.normal(size=(60, 7)) + LABELS[:, None]).astype(np.float32)


def scored(values: list[int], rows: np.ndarray = FEATURES) -> np.ndarray:
    return Knn().fit(FEATURES[:50], LABELS[:50], n_classes=3, values=values, seed=0)(rows)


def test_neighbours_are_scikit_learns_and_vote_by_their_similarity() -> None:
    def weights(distance: np.ndarray) -> np.ndarray:
        return np.exp((1 - distance) / 0.07)

    values = [20, 5, 3, 1]
    for own, k in zip(scored(values), values, strict=True):
        model = KNeighborsClassifier(k, metric="cosine", weights=weights).fit(FEATURES[:50], LABELS[:50])
        np.testing.assert_allclose(own, model.predict_proba(FEATURES), atol=2e-5)


def test_more_neighbours_than_images_are_all_images() -> None:
    many, all_of_them = scored([500, 50])
    np.testing.assert_array_equal(many, all_of_them)
    assert (many > 0).all()


def test_length_does_not_matter_and_a_row_of_zeros_is_scored() -> None:
    rows = FEATURES[:4].copy()
    np.testing.assert_allclose(scored([5], rows * 1000), scored([5], rows), rtol=1e-4)
    assert np.isfinite(scored([5], np.zeros((1, 7), np.float32))).all()


@pytest.mark.parametrize("rows", [1, 7, 60])
def test_how_many_are_scored_at_once_changes_nothing(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scored([10, 1])
    monkeypatch.setattr(knn, "_ROWS", rows)
    np.testing.assert_allclose(scored([10, 1]), whole, rtol=1e-4)
    assert scored([10, 1], FEATURES[:0]).shape == (2, 0, 3)
