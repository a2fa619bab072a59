"""Figures as SVG: value against label fraction, values of one fraction, differences to the baseline, values against a
count."""

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from raysweep.report.cells import percent
from raysweep.report.style import BAND, GRID, INK, MUTED, PAPER, Mark, themed

_WIDTH = 460  # points; the page shows figures at about this size, so text keeps its own
_LABEL = 19  # characters of a checkpoint's name in a figure
_LEFT, _RIGHT = 60, 146  # points beside the axes of a figure with lines: the axis, and names at the ends of lines
_RC: dict[Any, Any] = {
       "svg.fonttype": "none", "svg.hashsalt": "raysweep", "font.family": ["DejaVu Sans"], "font.size": 12.5,
       "axes.edgecolor": MUTED, "axes.linewidth": 0.8, "text.color": INK, "axes.labelcolor": MUTED,
       "xtick.color": MUTED, "ytick.color": MUTED, "axes.spines.top": False, "axes.spines.right": False,
       "axes.formatter.useoffset": False, "text.parse_math": False}  # fmt: skip
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Point:
    """A value with its interval."""

    value: float
    low: float | None
    high: float | None


def curves(
    series: dict[str, dict[float, Point]], marks: dict[str, Mark], metric: str, images: dict[float, int],
    ringed: Mapping[str, float] | None = None,
) -> str:  # fmt: skip
    """Value against label fraction, a line per checkpoint, labelled at its right end.

    series: by checkpoint, then fraction. images: how many labelled images each fraction is. ringed: by checkpoint the
    fraction whose point has a ring around it.
    """
    fractions = sorted({f for points in series.values() for f in points})
    logarithmic = max(fractions) / min(fractions) > 4
    place = dict(zip(fractions, np.log(fractions) if logarithmic else np.array(fractions), strict=True))
    low, high = min(place.values()), max(place.values())
    step = min(0.014, 0.08 / len(series)) * (high - low)
    height = max(270, 17 * len(series) + 70)
    with _style():
        figure, axes = _canvas(height, left=_LEFT, right=_RIGHT, bottom=60)
        axes.set_xlim(low - 0.09 * (high - low), high + 0.06 * (high - low))
        _value_axis(axes, [p for points in series.values() for p in points.values()])
        axes.set_ylabel(metric)
        named = _apart([place[f] for f in fractions], 39 / (_WIDTH - _LEFT - _RIGHT) * 1.15 * (high - low))
        ticks = [f"{percent(f)}\n{images.get(f, '')}" if i in named else "" for i, f in enumerate(fractions)]
        axes.set_xticks([place[f] for f in fractions], ticks)
        axes.set_xlabel("labels used, and images", labelpad=2)
        ends = []
        for i, (name, points) in enumerate(series.items()):
            mark, shift = marks[name], (i - (len(series) - 1) / 2) * step
            x = np.array([place[f] + shift for f in sorted(points)])
            own = [points[f] for f in sorted(points)]
            axes.plot(x, [p.value for p in own], color=mark.colour, lw=1.6, marker=mark.marker, ms=5.5, zorder=3)
            for at, p in zip(x, own, strict=True):
                if p.low is not None and p.high is not None:
                    axes.plot([at, at], [p.low, p.high], color=mark.colour, lw=1.1, zorder=2, solid_capstyle="butt")
            ring = (ringed or {}).get(name)
            if ring is not None and ring in points:
                axes.plot([place[ring] + shift], [points[ring].value], color=mark.colour, marker="o", ms=13, mfc="none",
                          mew=1.6, zorder=4)  # fmt: skip
            ends.append((own[-1].value, name))
        _end_labels(axes, ends, marks)
        return _svg(figure)


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]], marks: dict[str, Mark], axis: str, count: str, *,
    logarithmic: bool = False,
) -> str:  # fmt: skip
    """A value against a count, a line per checkpoint, labelled at its right end.

    series: by checkpoint, points (count, value) in ascending order. axis, count: what the two are.
    """
    ticks = sorted({x for points in series.values() for x, _ in points})
    place = (lambda x: float(np.log(x))) if logarithmic and min(ticks) > 0 else float
    low, high = place(ticks[0]), place(ticks[-1])
    width = (high - low) or 1.0
    with _style():
        figure, axes = _canvas(max(230, 17 * len(series) + 70), left=_LEFT, right=_RIGHT, bottom=44)
        axes.set_xlim(low - 0.06 * width, high + 0.06 * width)
        _value_axis(axes, [Point(y, None, None) for points in series.values() for _, y in points])
        axes.set_ylabel(axis)
        axes.set_xlabel(count, labelpad=2)
        places = [place(x) for x in ticks]
        named = _apart(places, 30 / (_WIDTH - _LEFT - _RIGHT) * 1.12 * width)
        axes.set_xticks(places, [f"{x:g}" if i in named else "" for i, x in enumerate(ticks)])
        ends = []
        for name, points in series.items():
            mark = marks[name]
            x, y = [place(x) for x, _ in points], [y for _, y in points]
            axes.plot(x, y, color=mark.colour, lw=1.6, marker=mark.marker, ms=4.5, zorder=3)
            ends.append((points[-1][1], name))
        _end_labels(axes, ends, marks)
        return _svg(figure)


def rows(
    groups: dict[str, list[tuple[str, Point]]], marks: dict[str, Mark], axis: str, margin: float | None = None
) -> str:
    """A row per point: dot and interval; numbers stand in the table beside it.

    groups: by checkpoint, its rows with labels of their own.
    margin: for differences; draws the line of no difference and the band of differences that do not matter.
    """
    count = sum(len(points) for points in groups.values())
    headed = any(label for points in groups.values() for label, _ in points)
    lines = count + (len(groups) if headed else 0)
    with _style():
        figure, axes = _canvas(20 * lines + 58, left=140, right=18, bottom=44)
        points = [p for own in groups.values() for _, p in own]
        ends = [v for p in points for v in (p.value, p.low, p.high) if v is not None]
        if margin is not None:
            ends += [-1.3 * margin, 1.3 * margin, -0.01, 0.01]
            axes.axvspan(-margin, margin, color=BAND, lw=0, zorder=0)
            axes.axvline(0, color=MUTED, lw=1, zorder=1)
        pad = 0.06 * (max(ends) - min(ends)) or 0.05
        axes.set_xlim(min(ends) - pad, max(ends) + pad)
        axes.set_ylim(lines - 0.4, -0.6)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.grid(axis="x", color=GRID, lw=0.7)
        axes.set_axisbelow(True)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(axis)
        y = 0
        for name, own in groups.items():
            mark = marks[name]
            if headed:
                _beside(axes, y, -132, short(name), mark.colour, "left", weight="bold")
                y += 1
            for label, p in own:
                _beside(axes, y, -12, label if headed else short(name), MUTED if headed else mark.colour, "right")
                if p.low is not None and p.high is not None:
                    axes.plot([p.low, p.high], [y, y], color=mark.colour, lw=1.8, zorder=2, solid_capstyle="butt")
                axes.plot([p.value], [y], color=mark.colour, marker=mark.marker, ms=6.5, zorder=3)
                y += 1
        return _svg(figure)


def drawn(height: float, draw: Callable[[Axes], None], *, left: float, right: float, bottom: float) -> str:
    """A figure of other kind: `draw` fills its axes, which have these margins; all in points."""
    with _style():
        figure, axes = _canvas(height, left=left, right=right, bottom=bottom)
        draw(axes)
        return _svg(figure)


def clouds(panels: Mapping[str, Mapping[str, np.ndarray]], marks: Mapping[str, Mark]) -> str:
    """Clouds of points, two panels in a row, without axes.

    panels: by title, of each group the points (n, 2). marks: of the groups.
    """
    edge, gap = _WIDTH / 2 - 12, 34.0
    height = math.ceil(len(panels) / 2) * (edge + gap)
    with _style():
        figure = Figure(figsize=(_WIDTH / 72, height / 72), facecolor=PAPER)
        FigureCanvasSVG(figure)
        for i, (title, groups) in enumerate(panels.items()):
            left, top = 6 + i % 2 * (_WIDTH / 2), height - i // 2 * (edge + gap) - gap
            box = (left / _WIDTH, (top - edge) / height, edge / _WIDTH, edge / height)
            axes = figure.add_axes(box, facecolor="none", xticks=[], yticks=[])
            axes.set_title(title, loc="left", fontsize=12.5, pad=6)
            axes.spines[:].set_visible(True)
            axes.spines[:].set_color(GRID)
            for name, points in groups.items():
                axes.plot(
                    *points.T, ls="none", marker=marks[name].marker, ms=4, mew=0, alpha=0.8, color=marks[name].colour
                )
        return _svg(figure)


def short(name: str) -> str:
    """A checkpoint's name, cut in the middle when too long for a figure."""
    half = (_LABEL - 1) // 2
    return name if len(name) <= _LABEL else f"{name[: _LABEL - 1 - half]}…{name[-half:]}"


def inline(svg: str, prefix: str, title: str) -> str:
    """A figure file made part of the page: themed, scaled with it, its ids its own, read out as `title` (plain)."""

    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.S)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", body, flags=re.S)  # it would style the whole page
    body = re.sub(r' id="(?:figure|axes|patch|line2d|text|matplotlib|xtick|ytick|LineCollection)[\w.]*"', "", body)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", body)
    size = re.search(r'viewBox="0 0 ([\d.]+) ', body)
    width = size.group(1) if size else str(_WIDTH)
    head = f'<svg role="img" aria-label="{escape(title)}" style="max-width:{width}px" viewBox='
    body = body.replace("xlink:href=", "href=")
    body = re.sub(r"<svg .*?viewBox=", lambda _: head, body, count=1, flags=re.S)
    return themed(body)


@contextmanager
def _style() -> Iterator[None]:
    """matplotlib's own defaults and ours, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def _canvas(height: float, *, left: float, right: float, bottom: float) -> tuple[Figure, Axes]:
    """One pair of axes with margins in points."""
    figure = Figure(figsize=(_WIDTH / 72, height / 72), facecolor=PAPER)
    FigureCanvasSVG(figure)
    box = (left / _WIDTH, bottom / height, 1 - (left + right) / _WIDTH, 1 - (bottom + 12) / height)
    axes = figure.add_axes(box, facecolor="none")
    axes.tick_params(length=3, width=0.8)
    return figure, axes


def _apart(places: list[float], gap: float) -> set[int]:
    """Indices of ticks that can be labelled without touching: the last, then leftwards every one that is far enough."""
    kept = [len(places) - 1]
    for i in range(len(places) - 2, -1, -1):
        if places[kept[-1]] - places[i] >= gap:
            kept.append(i)
    return set(kept)


def _value_axis(axes: Axes, points: Sequence[Point]) -> None:
    ends = [v for p in points for v in (p.value, p.low, p.high) if v is not None]
    pad = 0.06 * (max(ends) - min(ends)) or 0.05
    axes.set_ylim(min(ends) - pad, max(ends) + pad)
    axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(axis="y", color=GRID, lw=0.7)
    axes.set_axisbelow(True)


def _end_labels(axes: Axes, ends: list[tuple[float, str]], marks: dict[str, Mark]) -> None:
    """Names at the right of the last points, moved apart where they would overlap; a thin line leads to each."""
    low, high = axes.get_ylim()
    gap = 14.5 / (axes.bbox.height / axes.figure.dpi * 72) * (high - low)
    ends = sorted(ends)
    places = [value for value, _ in ends]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    over = places[-1] - (high - gap / 2)
    if over > 0:  # push down from the top
        places[-1] -= over
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - gap)
    right = axes.get_xlim()[1]
    for (value, name), y in zip(ends, places, strict=True):
        colour = marks[name].colour
        axes.annotate("", (right, value), (14, 0), ("data", "data"), "offset points")
        axes.annotate(
            short(name), (right, value), (16, (y - value) / gap * 14.5), "data", "offset points",
            color=colour, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)},
        )  # fmt: skip


def _beside(axes: Axes, y: float, x: float, text: str, colour: str, align: str, weight: str = "normal") -> None:
    axes.annotate(text, (0, y), (x, 0), ("axes fraction", "data"), "offset points", va="center", ha=align,
                  color=colour, weight=weight)  # fmt: skip


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = re.sub(r"'DejaVu Sans'[^;\"]*", _FONT, out.getvalue())
    return re.sub(r"[ \t]+\n", "\n", text)
