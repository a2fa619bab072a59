"""The critical-difference diagram: checkpoints on an axis of average ranks, bars over those not found to differ."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from raysweep.report.figures import drawn, short
from raysweep.report.style import INK, MUTED, Mark

_LINE = 19  # points between two names


def critical_difference(
    names: Sequence[str], mean_ranks: np.ndarray, groups: Sequence[tuple[int, int]], marks: dict[str, Mark]
) -> str:
    """As an SVG's text (Demsar, J. Mach. Learn. Res. 7, 2006, fig. 1).

    names, mean_ranks: the best first, which stands at the left; the better half of the names is written at the left,
    the other at the right. groups: first and last place of names that a bar joins.
    """
    k = len(names)
    left = (k + 1) // 2
    bars = len(groups)
    lines = max(left, k - left)
    depth = bars + 1.2  # of the first name below the axis, in lines

    def draw(axes: Axes) -> None:
        axes.set_xlim(0.7, k + 0.3)
        axes.set_ylim(depth + lines - 0.4, -0.2)
        axes.set_yticks([])
        axes.set_xticks(range(1, k + 1))
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel("average rank")
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.spines["top"].set_visible(True)
        for i, (name, rank) in enumerate(zip(names, mean_ranks, strict=True)):
            mark, first = marks[name], i < left
            y = depth + (i if first else k - 1 - i)
            end = 0.7 if first else k + 0.3
            axes.plot([rank, rank, end], [-0.2, y, y], color=mark.colour, lw=1.1, clip_on=False)
            axes.annotate(
                f"{short(name)} {rank:.2f}", (end, y), (-6 if first else 6, 0), "data", "offset points", va="center",
                ha="right" if first else "left", color=mark.colour, annotation_clip=False,
            )  # fmt: skip
        for j, (a, b) in enumerate(groups):
            ends = [mean_ranks[a] - 0.04, mean_ranks[b] + 0.04]
            axes.plot(ends, [j + 0.6, j + 0.6], color=INK, lw=3.5, solid_capstyle="butt", zorder=4)
        axes.tick_params(colors=MUTED)

    return drawn(_LINE * (depth + lines) + 52, draw, left=128, right=128, bottom=4)
