"""Small measurements that estimates rest on."""

import functools
import time

from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table import SlideEntry

_OPENED = 20  # slides whose size is read; the others count as their mean
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


def slide_patches(spec: PatchSetSpec, slides: list[SlideEntry]) -> int:
    """An upper bound of the patches of a slide set: whole grids, tissue or not, and at most `per_slide` of each."""
    from raysweep.slides.slide import Slide

    counts = []
    for entry in slides[:: max(1, len(slides) // _OPENED)][:_OPENED]:
        try:
            with Slide(entry.path, mpp=entry.mpp) as slide:
                step = spec.um / slide.mpp if slide.mpp else float("inf")
                counts.append(int(slide.size[0] // step) * int(slide.size[1] // step))
        except Exception:  # tiling will say what is wrong with it
            counts.append(0)
    if not counts:
        return 0
    cap = spec.per_slide or max(counts)
    return round(len(slides) * sum(min(c, cap) for c in counts) / len(counts))
