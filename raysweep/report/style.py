"""One colour and one mark per checkpoint, everywhere on the page and in the figures."""

from collections.abc import Sequence
from dataclasses import dataclass

# Okabe and Ito's colours ("Color Universal Design", 2008), darkened on white and lightened on dark until names can be
# written in them (4.5:1, WCAG 2.2, 1.4.3); without black and yellow, which vanish on one of the two backgrounds.
# Each pair: on white, on dark.
_PALETTE = (
    ("#0072b2", "#4aa8e0"), ("#b84a00", "#f0813a"), ("#00785a", "#2cc196"), ("#b0417f", "#e08fbd"),
    ("#846000", "#e6b030"), ("#2b4590", "#a3b6f5"), ("#7a3e9d", "#b98ad6"), ("#666666", "#a8a8a8"),
)  # fmt: skip
# matplotlib's name of a mark, and the same mark as an SVG path in a 12 x 12 box
_MARKS = (
    ("o", "M6 1.5a4.5 4.5 0 1 0 .01 0z"),
    ("s", "M2 2h8v8h-8z"),
    ("^", "M6 1.2l4.8 9h-9.6z"),
    ("D", "M6 .8l5.2 5.2-5.2 5.2-5.2-5.2z"),
    ("v", "M6 10.8l4.8-9h-9.6z"),
    ("P", "M4.2 1h3.6v3.2h3.2v3.6h-3.2v3.2h-3.6v-3.2h-3.2v-3.6h3.2z"),
    ("X", "M3.4 1l2.6 2.6 2.6-2.6 2.4 2.4-2.6 2.6 2.6 2.6-2.4 2.4-2.6-2.6-2.6 2.6-2.4-2.4 2.6-2.6-2.6-2.6z"),
    ("p", "M6 1l5 3.7-1.9 5.8h-6.2l-1.9-5.8z"),
)
INK, MUTED, GRID, BAND, PAPER = "#1c1e21", "#5f6670", "#dfe3e8", "#d9e0e8", "#fefefe"  # in figure files
BACKGROUND, OUTSIDE = "#f2f2f2", "#8d8d8d"  # in masks: class 0, and what counts nowhere


@dataclass(frozen=True)
class Mark:
    """How one checkpoint is drawn. colour, dark: on white and on dark; marker: matplotlib's; path: the same in SVG."""

    index: int
    colour: str
    dark: str
    marker: str
    path: str


def marks(names: Sequence[str]) -> dict[str, Mark]:
    """A mark for each name: 8 colours, then the same colours with other markers (64 in all, then again)."""
    n = len(_PALETTE)
    out = {}
    for i, name in enumerate(names):
        marker, path = _MARKS[(i + i // n) % len(_MARKS)]
        out[name] = Mark(i % n, *_PALETTE[i % n], marker, path)
    return out


def mask_colours() -> list[str]:
    """Colours of classes from 1 on, in masks; pictures keep theirs in both themes."""
    return ["#3d9be0", "#e0661a", "#f2c230", "#b55fb0", "#35ab7d", "#7a5230", "#5c62d6", "#d64570"]


def variables() -> tuple[str, str]:
    """The colours as CSS variables (--c0, --c1, ...): on white, on dark."""
    light = "".join(f"--c{i}:{pair[0]};" for i, pair in enumerate(_PALETTE))
    dark = "".join(f"--c{i}:{pair[1]};" for i, pair in enumerate(_PALETTE))
    return light, dark


def themed(svg: str) -> str:
    """A figure file's text with its colours as CSS variables, so that it follows the page's theme."""
    for i, pair in enumerate(_PALETTE):
        svg = svg.replace(pair[0], f"var(--c{i})")
    for name, colour in (("ink", INK), ("muted", MUTED), ("grid", GRID), ("band", BAND), ("paper", PAPER)):
        svg = svg.replace(colour, f"var(--{name})")
    return svg
