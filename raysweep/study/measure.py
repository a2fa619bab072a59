"""How many patches a slide set is likely to have."""

from raysweep.addresses import is_address
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import SlideEntry

_OPENED, _FETCHED = 20, 2  # slides whose size is read, here and on object storage; the others count as their mean


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
