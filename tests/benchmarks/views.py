"""How fast views of patches are made, against lightly.

    RAYSWEEP_TEST_DATA=DIR python -m tests.benchmarks.views [--pairs 41]

The two SimCLR views of a sample on one core: the recipe of raysweep's SimCLR at its defaults, from decoded 224 px
patches of the GlaS images, against lightly's `SimCLRTransform(input_size=224)` at its defaults, from PIL images of
the same pixels. Both have one thread and make views of the same samples in turn; decoding is left out of both. The
interval is that of the median of the pairs' ratios, of at least 95 %, by order statistics.

Last figures (Intel Xeon, one core beside a pip install, torch 2.15, lightly 1.6, 41 pairs):

| two views of a sample | |
|---|---|
| ours | 4.55 ms: crops 0.88, colours and blur 2.91 |
| lightly | 14.46 ms |
| times as fast | 3.14 (2.73 to 3.61); target 1.5, met |
"""

import argparse
import csv
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from raysweep.patches.codec import decode, encode_jpeg
from raysweep.patches.views import colour_views, crop_views, make_views
from raysweep.pretrain.methods import find_method

_PX = 224
_SAMPLES = 32
_TARGET = 1.5
_HOW = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def _patches() -> list[np.ndarray]:
    """Patches from all over the set, as they come out of their JPEG files."""
    folder = Path(os.environ["RAYSWEEP_TEST_DATA"]) / "glas"
    with open(folder / "patches_224.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    found = []
    for row in rows[:: len(rows) // _SAMPLES][:_SAMPLES]:
        (path,) = (folder / "images").glob(f"{row['name']}.*")
        x, y = int(row["x"]), int(row["y"])
        pixels = np.asarray(Image.open(path).convert("RGB"))[y : y + _PX, x : x + _PX]
        found.append(decode(encode_jpeg(pixels, 90)))
    return found


def _seconds(work: Callable[..., object], *given: object) -> float:
    started = time.perf_counter()
    work(*given)
    return time.perf_counter() - started


def _interval(values: list[float]) -> tuple[float, float]:
    """Of the median, at least 95 %: between the k-th smallest and the k-th largest."""
    from scipy.stats import binom

    k = int(binom.ppf(0.025, len(values), 0.5))  # P(fewer than k below the median) <= 2.5 %
    ordered = sorted(values)
    return ordered[k - 1], ordered[-k]


def main() -> None:
    from lightly.transforms import SimCLRTransform

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=41)
    pairs = parser.parse_args().pairs
    if pairs < 6:
        parser.error("--pairs: an interval needs at least 6")
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    patches = _patches()
    keys = range(len(patches))
    method = find_method("simclr")
    recipes = method(method.Options()).views(_PX)
    assert len(recipes) == 2
    transform = SimCLRTransform(input_size=_PX)
    pictures = [Image.fromarray(patch) for patch in patches]
    torch.manual_seed(0)

    def ours(epoch: int) -> list[torch.Tensor]:
        return [make_views(patches, keys, r, seed=0, epoch=epoch, view=v, **_HOW) for v, r in enumerate(recipes)]

    def lightly() -> list[list[torch.Tensor]]:
        return [transform(picture) for picture in pictures]

    def crops(epoch: int) -> list[torch.Tensor]:
        return [crop_views(patches, keys, r, seed=0, epoch=epoch, view=v) for v, r in enumerate(recipes)]

    def colours(epoch: int, cropped: list[torch.Tensor]) -> list[torch.Tensor]:
        numbered = enumerate(zip(cropped, recipes, strict=True))
        return [colour_views(c, keys, r, seed=0, epoch=epoch, view=v, **_HOW) for v, (c, r) in numbered]

    times: dict[str, list[float]] = {"ours": [], "lightly": [], "crops": [], "colours": []}
    for epoch in range(pairs + 1):
        times["ours"].append(_seconds(ours, epoch))
        times["lightly"].append(_seconds(lightly))
        times["crops"].append(_seconds(crops, epoch))
        times["colours"].append(_seconds(colours, epoch, crops(epoch)))
    times = {part: found[1:] for part, found in times.items()}  # the first of each warms up
    each = {part: 1000 * statistics.median(found) / len(patches) for part, found in times.items()}
    ratios = [slow / fast for fast, slow in zip(times["ours"], times["lightly"], strict=True)]
    ratio, (low, high) = statistics.median(ratios), _interval(ratios)
    verdict = "met" if low >= _TARGET else "MISSED"
    print(f"two views of a sample: {each['ours']:.2f} ms, lightly {each['lightly']:.2f} ms")
    print(f"  times as fast: {ratio:.2f} ({low:.2f} to {high:.2f}; target {_TARGET:g}, {verdict})")
    print(f"  of it crops {each['crops']:.2f} ms, colours and blur {each['colours']:.2f} ms")


if __name__ == "__main__":
    main()
