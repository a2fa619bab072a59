"""Every text can be read on what it stands on, in both themes: contrast after WCAG 2.2, 1.4.3 and 1.4.11."""

import re
from pathlib import Path

import pytest

import raysweep.report
from raysweep.report.style import BAND, GRID, INK, MUTED, PAPER, marks, variables

_CSS = (Path(raysweep.report.__file__).parent / "templates" / "style.css").read_text()


def _luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _mixed(colour: str, share: float, paper: str) -> str:
    """CSS color-mix(in srgb, colour share, paper)."""
    pairs = [(int(colour[i : i + 2], 16), int(paper[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)


def _schemes() -> dict[str, dict[str, str]]:
    """The variables of :root in each scheme, as #rrggbb."""
    found = re.findall(r":root\{([^}]*)\}", _CSS)
    own = dict(zip(("light", "dark", "print"), found, strict=True))
    light, dark = variables()
    own = {"light": own["light"] + light, "dark": own["dark"] + dark, "print": own["print"] + light}
    out = {}
    for name, text in own.items():
        pairs = re.findall(r"--(\w+):(#[0-9a-f]+)", text)
        out[name] = {key: value if len(value) == 7 else "#" + "".join(2 * c for c in value[1:]) for key, value in pairs}
    return out


SCHEMES = _schemes()


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the well-known grey that just fails


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_texts_can_be_read(scheme):
    own = SCHEMES[scheme]
    texts = ["ink", "muted", "good", "bad", "link", *(f"c{i}" for i in range(8))]
    for name in texts:
        for below in ("paper", "card"):
            assert contrast(own[name], own[below]) >= 4.5, (name, below)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_numbers_in_heat_maps_can_be_read_at_every_colour(scheme):
    own = SCHEMES[scheme]
    for side in ("more", "less"):
        assert contrast(own[side], own["paper"]) >= 1.3
        for percent in range(0, 101, 10):
            assert contrast(own["ink"], _mixed(own[side], percent / 100, own["paper"])) >= 4.5, (side, percent)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_bands_can_be_seen_and_what_is_drawn_on_them(scheme):
    own = SCHEMES[scheme]
    assert contrast(own["band"], own["paper"]) >= 1.3
    assert all(contrast(own[f"c{i}"], own["band"]) >= 3 for i in range(8))


def test_figure_files_have_the_colours_of_the_light_page():
    own = SCHEMES["light"]
    assert tuple(own[k] for k in ("ink", "muted", "grid", "band")) == (INK, MUTED, GRID, BAND)
    assert contrast(PAPER, own["paper"]) < 1.02
    assert {m.colour for m in marks([str(i) for i in range(8)]).values()} == {own[f"c{i}"] for i in range(8)}
