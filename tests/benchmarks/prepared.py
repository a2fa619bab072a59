"""What every tiler of a comparison is given: the same places of the same slide."""

from typing import Any

QUALITY = 90


def prepared(path: str, keys: dict[str, Any]):
    """The patch set, its grid on a slide, whether tiles are copied, and the places that are kept, by cut."""
    import numpy as np

    from raysweep.slides.cut import read_cut
    from raysweep.slides.grid import lay_grid
    from raysweep.slides.native import may_copy, native_tile
    from raysweep.slides.pipeline import Limits
    from raysweep.slides.places import into_cuts
    from raysweep.slides.slide import Slide
    from raysweep.slides.spec import PatchSetSpec

    spec = PatchSetSpec(slides="*.svs", quality=QUALITY, **keys)
    with Slide(path) as slide:
        grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
        copy = may_copy(spec) and native_tile(slide) == (spec.px, spec.px)
        cuts = []  # of patches that are kept: nobody gains by leaving glass out
        for places in into_cuts(grid.all(), grid.downsample, grid.step, spec.px, Limits().cut_mpx):
            kept = read_cut(slide, "slide", places, grid, spec, 0).rows.select(["x", "y"]).to_pylist()
            found = {(row["x"], row["y"]) for row in kept}
            inside = [tuple(corner) in found for corner in places.corner.tolist()]
            cuts += [places.pick(np.array(inside))] if any(inside) else []
    return spec, grid, copy, cuts
