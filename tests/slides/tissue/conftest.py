"""Thumbnails of real slides."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysweep.slides.slide import Slide

Thumbnails = dict[str, tuple[np.ndarray, tuple[float, float]]]


@pytest.fixture(scope="session")
def thumbnails(test_data: Path) -> Thumbnails:
    """H&E: a paraffin section, a frozen one (with folds), and crops of many patients as if on one slide."""
    found = {}
    for name, file, mpp in (("skin", "CMU-1-Small-Region.svs", None), ("frozen", "TCGA-CR-7395-01A-01-TS1.svs", 0.5)):
        with Slide(test_data / "wsi" / file, mpp) as slide:
            picture = slide.thumbnail(900)
            found[name] = picture, (slide.mpp * slide.size[0] / picture.shape[1],) * 2
    crops = sorted((test_data / "glas" / "images").glob("*"))[::7][:20]
    mosaic = np.full((4 * 600, 5 * 860, 3), 244, np.uint8)
    for i, path in enumerate(crops):
        pixels = np.asarray(Image.open(path).convert("RGB"))[:522, :775]
        top, left = 40 + i // 5 * 600, 40 + i % 5 * 860
        mosaic[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    found["glands"] = np.asarray(Image.fromarray(mosaic).reduce(6)), (6 * 0.62, 6 * 0.62)
    return found
