"""All pairs of checkpoints of a task as heat maps."""

from collections.abc import Sequence

from raysweep.report.cells import percent
from raysweep.report.findings import Findings, Pair, TaskFindings
from raysweep.report.heat import HeatCell, HeatMap
from raysweep.report.tables import metric_words, number, p_value

FEWEST_CHECKPOINTS = 3  # a single pair stands among the differences
MOST_PAIRED = 14  # checkpoints of one map; the file has all
MOST_PAIRS = 4000  # cells of all maps on the page


def pair_maps(findings: Findings) -> tuple[list[HeatMap], int]:
    """Of each task and fraction all pairs of checkpoints, row minus column, corrected over all pairs of the task; and
    how many maps more there are than MOST_PAIRS cells allow. With two checkpoints there is nothing to add."""
    maps, cells, left = [], 0, 0
    for found in findings.tasks:
        at: dict[float, list[Pair]] = {}
        for pair in found.pairs:
            at.setdefault(pair.fraction, []).append(pair)
        for fraction in found.fractions:
            pairs = at.get(fraction, [])
            names = list(dict.fromkeys(n for p in pairs for n in (p.first, p.second)))
            if len(names) < FEWEST_CHECKPOINTS:
                continue
            kept = _kept(names, found, fraction, findings)
            cells += len(kept) ** 2 // 2
            if cells > MOST_PAIRS:
                left += 1
                continue
            maps.append(_pair_map(found, fraction, pairs, names, kept))
    return maps, left


def _kept(names: Sequence[str], found: TaskFindings, fraction: float, findings: Findings) -> list[str]:
    """At most MOST_PAIRED: the baseline and the highest at this fraction, in the study's order."""
    own = findings.of_task.get((found.task, found.comparisons[0].cell.protocol), ())
    values = {e.cell.checkpoint: e.interval.value for e in own if e.cell.fraction == fraction}
    ranked = sorted(names, key=lambda n: (n != findings.baseline, -values.get(n, float("-inf"))))
    chosen = set(ranked[:MOST_PAIRED])
    return [name for name in names if name in chosen]


def _pair_map(
    found: TaskFindings, fraction: float, pairs: Sequence[Pair], names: Sequence[str], kept: Sequence[str]
) -> HeatMap:
    of = {(p.first, p.second): p for p in pairs}
    shown = [of[a, b].difference.value for i, a in enumerate(kept) for b in kept[i + 1 :] if (a, b) in of]
    most = max((abs(v) for v in shown if v == v), default=0.0)
    rows = [
        (a, [_pair_cell(of.get((a, b)), most) if j > i else None for j, b in enumerate(kept) if j])
        for i, a in enumerate(kept[:-1])
    ]
    note = "" if len(kept) == len(names) else f"The baseline and the {len(kept) - 1} highest of {len(names)}."
    title = f"{found.task}, {percent(fraction)}: {metric_words(found.metric)}"
    return HeatMap(title, [(name, "") for name in kept[1:]], rows, note)


def _pair_cell(pair: Pair | None, most: float) -> HeatCell | None:
    if pair is None or pair.difference.value != pair.difference.value:
        return None
    d, v = pair.difference, pair.verdict
    p = p_value(v.p_corrected)
    said = f"{pair.first} minus {pair.second}: {number(d.value, 3, sign=True)}, {v.word}"
    said += f", corrected p {p if p.startswith('<') else '= ' + p}" if p else ""
    return HeatCell(number(d.value, 3, sign=True), v.word, d.value / most if most else 0.0, said)
