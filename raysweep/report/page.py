"""The page: one HTML file that needs nothing else, made from a template."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from raysweep.report.beyond import Beyond
from raysweep.report.blocks import DifferenceBlock, ValueBlock
from raysweep.report.cells import percent
from raysweep.report.choices import Choices
from raysweep.report.costs import Costs
from raysweep.report.enough import FEWEST_EFFECTIVE, FEWEST_OF_CLASS, FEWEST_PRETRAININGS, FEWEST_RUNS, FEWEST_UNITS
from raysweep.report.family import (
    BETTER,
    MUCH_BETTER,
    MUCH_WORSE,
    NOT_COMPARED,
    NOT_ENOUGH,
    NOT_WORSE,
    SAME,
    UNDECIDED,
    WORSE,
)
from raysweep.report.feature_maps import FeatureMap, UmapFigure
from raysweep.report.figures import inline
from raysweep.report.findings import Estimate
from raysweep.report.heat import legend
from raysweep.report.jackknife import MOST_BLOCKS
from raysweep.report.registration import Standing
from raysweep.report.regret import Searched
from raysweep.report.sections import Sections
from raysweep.report.slides import Slides
from raysweep.report.spec import CompareSpec
from raysweep.report.style import Mark, variables
from raysweep.report.tables import Table, metric_words
from raysweep.report.training import Trained
from raysweep.report.words import Answer
from raysweep.transfer.spec import VAL_UNITS_FOR_METRIC

MOST_ROWS = 60  # rows of a table on the page; the files have all
MOST_BLOCKS_SHOWN = 30  # tasks times protocols on the page
MOST_SEARCHES = 12  # searches, and trainings, on the page
MOST_BYTES = 15 * 10**6  # of the page; above it pictures are left out
_SIGNS = {MUCH_BETTER: ("▲", "better"), BETTER: ("▲", "better"), MUCH_WORSE: ("▼", "worse"), WORSE: ("▼", "worse"),
          SAME: ("=", "same"), NOT_WORSE: ("≥", "same"), UNDECIDED: ("?", "open"), NOT_ENOUGH: ("–", "none"),
          NOT_COMPARED: ("–", "none"), "": ("", "none")}  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """All that the page shows. changed: what of the comparison was changed later; standing: of what was registered;
    once: one search served all; legend: what the marks of weights that have seen mean."""

    study: str
    question: str
    compare: CompareSpec
    changed: Sequence[str]
    standing: Standing | None
    once: bool
    baseline: str
    answer: Answer
    values: Sequence[ValueBlock]
    differences: Sequence[DifferenceBlock]
    secondary: Table
    estimates: Sequence[Estimate]
    matrix: Table
    marks: dict[str, Mark]
    missing: Table
    choices: Choices
    costs: Costs
    paths: Table
    slides: Slides
    checkpoints: Table
    leaks: Sequence[str]
    legend: Sequence[str]
    versions: Sequence[str]
    beyond: Beyond
    sections: Sections


def render(parts: Parts) -> str:
    """The page's HTML. Every name is escaped; figures are inlined; long tables are cut and say so."""
    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.globals["compact"] = Table.compact
    light, dark = variables()
    shown, more = list(parts.values)[:MOST_BLOCKS_SHOWN], parts.sections
    return environment.get_template("index.html.j2").render(
        parts=parts,
        css=Markup((folder / "style.css").read_text(encoding="utf-8")),
        light=Markup(light),
        dark=Markup(dark),
        values=[(b, _figure(b, f"v{i}")) for i, b in enumerate(shown)],
        values_left=len(parts.values) - len(shown),
        differences=_differences(parts),
        ranked=Markup(inline(parts.beyond.rank_figure, "r", parts.beyond.rank_alt))
        if parts.beyond.rank_figure else None,
        sign=lambda word: _SIGNS[word],
        words=metric_words,
        level=percent(1 - parts.compare.alpha),
        methods=_methods(parts),
        missing_cells=len({tuple(row[:4]) for row in parts.missing.rows}),
        versions=_versions(parts.versions),
        most_rows=MOST_ROWS,
        more=more,
        has_data=bool(more.data.licences.rows or more.data.splits.rows or more.data.excluded.rows),
        most_searches=MOST_SEARCHES,
        legend=legend,
        drawn=lambda block: _figure(block, block.figure_name),
        script=Markup((folder / "page.js").read_text(encoding="utf-8")),
    )  # fmt: skip


def _figure(
    block: ValueBlock | DifferenceBlock | Searched | Trained | FeatureMap | UmapFigure, prefix: str
) -> Markup | None:
    return Markup(inline(block.figure, prefix, block.alt)) if block.figure else None


def _differences(parts: Parts) -> list[tuple[DifferenceBlock, Markup | None, int]]:
    """Each block, its figure, and how many of its rows are shown: MOST_ROWS over all, 10 at least in each."""
    if not any(b.figure for b in parts.differences):  # nothing could be compared: the headline says so
        return []
    blocks = list(parts.differences)[:MOST_BLOCKS_SHOWN]
    each = max(10, MOST_ROWS // max(1, len(blocks)))
    return [(b, _figure(b, f"d{i}"), each) for i, b in enumerate(blocks)]


def _methods(parts: Parts) -> dict[str, Any]:
    """Numbers that the paragraph on methods names, and which of its sentences apply."""
    return {
        "fewest": FEWEST_UNITS,
        "effective": FEWEST_EFFECTIVE,
        "of_class": FEWEST_OF_CLASS,
        "runs": FEWEST_RUNS,
        "pretrainings": FEWEST_PRETRAININGS,
        "blocks": MOST_BLOCKS,
        "blocked": any(e.interval.n_units > MOST_BLOCKS for e in parts.estimates),
        "few_pretrainings": sorted(
            {e.cell.checkpoint for e in parts.estimates if e.pretrainings < FEWEST_PRETRAININGS}
        ),
        "image": any(e.unit == "image" for e in parts.estimates),
        "single_repeat": any(e.interval.n_repeats == 1 for e in parts.estimates),
        "few_val": any(0 < e.n_val_units < VAL_UNITS_FOR_METRIC for e in parts.estimates),
        "val_units": VAL_UNITS_FOR_METRIC,
        "frozen": any(not e.n_val_images for e in parts.estimates),
        "whole_pool": any(e.cell.fraction == 1 for e in parts.estimates),
        "folded": any(e.n_folds > 1 for e in parts.estimates),
        "families": sorted({len(b.rows) for b in parts.differences}),
    }


def _versions(versions: Sequence[str]) -> list[list[tuple[str, str]]]:
    """Package versions that result rows were made with; more than one list when they were not all made alike."""
    return [sorted((str(k), str(v)) for k, v in json.loads(text).items()) for text in versions if text]
