import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from raysweep.transfer.protocols.linear import Linear

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_scikit_learns_fit_on_standardised_features(classes: int) -> None:
    labels = np.arange(90) % classes
    features = (50 + 9 * RNG.normal(size=(90, 10)) + 5 * labels[:, None]).astype(np.float32)
    path = [1e-4, 1e-2, 1.0]
    scores = Linear().fit(features[:60], labels[:60], n_classes=classes, values=path, seed=0)(features[60:])
    assert scores.shape == (3, 30, classes)
    assert scores.dtype == np.float32
    scaler = StandardScaler().fit(features[:60].astype(float))
    for own, C in zip(scores, path, strict=True):
        model = LogisticRegression(C=C, max_iter=1000, tol=1e-8).fit(scaler.transform(features[:60]), labels[:60])
        np.testing.assert_allclose(own, model.predict_proba(scaler.transform(features[60:])), atol=3e-3)


def test_a_fit_with_one_value_starts_from_nothing() -> None:
    labels = np.arange(40) % 2
    features = (RNG.normal(size=(40, 5)) + labels[:, None]).astype(np.float32)
    first, again = (Linear().fit(features, labels, n_classes=2, values=[0.5], seed=s)(features) for s in (0, 1))
    np.testing.assert_array_equal(first, again)
    x = StandardScaler().fit_transform(features)
    model = LogisticRegression(C=0.5, max_iter=1000).fit(x, labels)
    np.testing.assert_allclose(first[0], model.predict_proba(x), atol=1e-6)
