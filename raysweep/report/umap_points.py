"""UMAP of features (McInnes, Healy and Melville, arXiv 1802.03426), where umap-learn is installed."""

import importlib.util
import warnings

import numpy as np

from raysweep.errors import RequestError

HOW_TO_GET = "pip install 'raysweep[umap]'"
_NEIGHBOURS = 15  # umap-learn's default, written down since maps depend on it
_MIN_DIST = 0.1
_SEED = 2018  # of its start and its sampling: the same features give the same map with the same versions


def umap_installed() -> bool:
    """Whether maps can be drawn; nothing is imported for the answer."""
    return importlib.util.find_spec("umap") is not None


def umap_points(features: np.ndarray) -> np.ndarray:
    """Places (n, 2) of features (n, d), n at least 3: their middle is 0 and the largest distance from it along an axis
    is 1; rounded. One thread, a fixed seed. Raises RequestError where umap-learn is not installed."""
    if not umap_installed():
        raise RequestError(
            f"umap: this report has UMAP maps, which umap-learn draws and is not installed here; {HOW_TO_GET}"
        )
    from umap import UMAP

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numba, and that a seed means one thread
        how = UMAP(n_components=2, n_neighbors=min(_NEIGHBOURS, len(features) - 1), min_dist=_MIN_DIST,
                   random_state=_SEED, n_jobs=1)  # fmt: skip
        points = how.fit_transform(np.asarray(features, np.float32)).astype(np.float64)
    points -= points.mean(axis=0)
    most = np.abs(points).max()
    return np.round(points / most if most else points, 3)
