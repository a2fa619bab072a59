import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from raysweep.transfer.protocols.svm import Svm

PATH = [10.0**e for e in range(-10, 1)]


@given(st.integers(2, 4), st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_the_highest_score_is_the_highest_decision_value_however_weak_or_strong(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 60)])
    features = (rng.normal(size=(len(labels), 8)) * 1e3 + 500 * labels[:, None]).astype(np.float32)
    scores = Svm().fit(features[:40], labels[:40], n_classes=classes, values=PATH, seed=seed)(features)
    assert (scores > 0).all()
    np.testing.assert_allclose(scores.sum(-1), 1, rtol=1e-5)
    for own, C in zip(scores, PATH, strict=True):
        model = make_pipeline(StandardScaler(), LinearSVC(C=C, random_state=seed)).fit(features[:40], labels[:40])
        np.testing.assert_array_equal(own.argmax(1), model.predict(features))


def test_of_two_classes_scores_rank_images_as_decision_values_do() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(80) % 2
    features = (rng.normal(size=(80, 6)) + labels[:, None]).astype(np.float32)
    for C in (1e-10, 1.0):
        own = Svm().fit(features, labels, n_classes=2, values=[C], seed=0)(features)[0, :, 1]
        model = make_pipeline(StandardScaler(), LinearSVC(C=C, random_state=0)).fit(features, labels)
        assert len(np.unique(own)) == 80, "float32 keeps them apart"
        assert spearmanr(own, model.decision_function(features)).statistic == pytest.approx(1)


def test_more_features_than_images_are_fitted_too() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(20) % 2
    features = rng.normal(size=(20, 200)).astype(np.float32) + labels[:, None]
    fits = [Svm().fit(features, labels, n_classes=2, values=[1e-3], seed=7)(features) for _ in range(2)]
    np.testing.assert_array_equal(*fits)
    assert (fits[0][0].argmax(1) == labels).all()
