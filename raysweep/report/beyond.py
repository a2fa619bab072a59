"""What a report says beyond the comparisons themselves: labels saved, the next purchase, ranks over tasks, out of
domain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raysweep.report.cells import CellRef
from raysweep.report.critical_difference import critical_difference
from raysweep.report.drop_views import drops_table
from raysweep.report.findings import Findings
from raysweep.report.over_tasks import over_tasks
from raysweep.report.over_tasks_views import (
    data_sets,
    over_tasks_lines,
    rank_pairs_table,
    ranks_table,
    tasks_table,
    values_to_rank,
)
from raysweep.report.purchase import next_purchases
from raysweep.report.purchase_views import purchase_sentence, purchases_table
from raysweep.report.rules import rules
from raysweep.report.spec import CompareSpec
from raysweep.report.style import Mark
from raysweep.report.tables import Table
from raysweep.report.worth_views import worth_table

_MOST_RANKED = 30  # checkpoints in the diagram


@dataclass(frozen=True)
class Beyond:
    """rule_words: how a rule judged that is not the default; empty for that one. purchases, rank_lines: sentences.

    rank_figure: an SVG's text, rank_alt what it shows; None and empty where nothing is ranked. Tables without rows are
    not written.
    """

    rule_words: str
    worth: Table
    purchases: Sequence[str]
    bought: Table
    ranks: Table
    rank_pairs: Table
    tasks: Table
    rank_lines: Sequence[str]
    rank_figure: str | None
    rank_alt: str
    drops: Table

    @property
    def tables(self) -> list[Table]:
        """Those that have anything in them."""
        found = [self.worth, self.bought, self.tasks, self.ranks, self.rank_pairs, self.drops]
        return [table for table in found if table.rows]


def look_beyond(
    findings: Findings, cells: Sequence[CellRef], marks: Mapping[str, Mark], compare: CompareSpec
) -> Beyond:
    """From findings alone. cells: in the order of the page."""
    base = findings.baseline
    judged = [c.difference for task in findings.tasks for c in task.comparisons if c.difference]
    estimates = [findings.estimates[c.key] for c in cells if c.key in findings.estimates]
    values = values_to_rank(estimates, compare.primary.protocol)
    nemenyi = compare.over_tasks == "nemenyi"
    ranked = over_tasks(values, data_sets(cells), alpha=compare.alpha, nemenyi=nemenyi)
    tasks = tasks_table(findings.tasks if len(findings.tasks) > 1 else [])
    figure, alt = None, ""
    if ranked and len(ranked.names) <= _MOST_RANKED:
        figure = critical_difference(ranked.names, ranked.mean_ranks, ranked.groups, dict(marks))
        ranks = [f"{name} {rank:.2f}" for name, rank in zip(ranked.names, ranked.mean_ranks, strict=True)]
        alt = f"Average ranks over tasks, the best first: {', '.join(ranks)}"
    bought = next_purchases(findings.tasks, findings.estimates) if compare.rule == "crossed" else []
    return Beyond(
        rule_words=rules()[compare.rule].method(judged),
        worth=worth_table(findings.tasks, base, compare.alpha),
        purchases=[purchase_sentence(p, findings.estimates, base) for p in bought],
        bought=purchases_table(bought, base),
        ranks=ranks_table(ranked),
        rank_pairs=rank_pairs_table(ranked),
        tasks=tasks,
        rank_lines=over_tasks_lines(ranked, tasks, compare),
        rank_figure=figure,
        rank_alt=alt,
        drops=drops_table(findings.drops),
    )
