"""Small measurements that estimates rest on."""

import functools
import time

from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import SlideEntry
from raysweep.storage import is_address

_OPENED, _FETCHED = 20, 2  # slides whose size is read, here and on object storage; the others count as their mean
_BATCH, _STEPS = 8, 3


@functools.cache
def seconds_per_image(backbone: str, px: int) -> float:
    """Seconds that a forward and backward pass takes per image of `px` pixels, on one thread of this machine."""
    import torch

    from raysweep.backbones.create import create_backbone

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = create_backbone(backbone, seed=0).train()
        images = torch.zeros(_BATCH, 3, px, px)
        model(images).sum().backward()
        started = time.perf_counter()
        for _ in range(_STEPS):
            model(images).sum().backward()
        return (time.perf_counter() - started) / (_STEPS * _BATCH)
    finally:
        torch.set_num_threads(threads)


def slide_patches(spec: PatchSetSpec, slides: list[SlideEntry], fetch_bytes: int) -> int:
    """An upper bound of the patches of a slide set: whole grids, tissue or not, and at most `per_slide` of each.

    Of slides on object storage only a few are fetched, and at most `fetch_bytes` kept on this machine.
    """
    from raysweep.slides.fetch import fetched
    from raysweep.slides.grid import lay_grid
    from raysweep.slides.slide import Slide

    counts = []
    near = [entry for entry in slides if not is_address(entry.path)]
    sample = near[:: max(1, len(near) // _OPENED)][:_OPENED] or slides[:_FETCHED]
    for entry in sample:
        try:
            with (
                fetched(entry.path, limit_bytes=fetch_bytes) as path,
                Slide(path, entry.mpp, spec.reader, fallback_mpp=spec.slide_mpp) as slide,
            ):
                grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
                counts.append(grid.columns * grid.rows)
        except Exception:  # tiling will say what is wrong with it
            counts.append(0)
    if not counts:
        return 0
    cap = spec.per_slide or max(counts)
    return round(len(slides) * sum(min(c, cap) for c in counts) / len(counts))
