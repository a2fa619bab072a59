"""Versions of the packages that results depend on."""

import functools
import importlib.metadata

_VERSIONED = ("raysweep", "ray", "torch", "torchvision", "timm", "lightly", "segmentation-models-pytorch",
              "torchmetrics", "optuna", "scikit-learn", "openslide-python", "openslide-bin", "pyarrow",
              "numpy", "simplejpeg", "tifffile", "imagecodecs", "shapely")  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on, for manifests and result rows."""
    return dict(_versions())


@functools.cache  # 15 ms, and every artefact and every final asks
def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
