"""What pretrainings are worth in labels, task by task: computed from the primary family, in a sentence and a table."""

from collections.abc import Collection, Mapping, Sequence

from raysweep.report.cells import percent
from raysweep.report.findings import Estimate, TaskFindings
from raysweep.report.intervals import Scores
from raysweep.report.spec import CompareSpec
from raysweep.report.tables import Shown, Table, number
from raysweep.report.worth import FEWER, MORE, Worth, worth_in_labels

_HEADERS = ("task", "metric", "checkpoint", "baseline", "images of baseline", "images to reach it", "low", "high",
            "fewest images", "most images", "curves", "in words", "reason")  # fmt: skip


def task_worths(
    found: TaskFindings,
    scores: Mapping[float, Mapping[str, Scores]],
    lacking: Mapping[float, Collection[str]],
    estimates: Mapping[str, Estimate],
    compare: CompareSpec,
    *,
    baseline: str,
) -> dict[str, Worth]:
    """By checkpoint; empty where there is a single label fraction, or another rule judges than that of its intervals.

    scores, lacking: as `judge_task` has them. The level of each interval is alpha over the number of checkpoints, so
    that all of a task hold together (Bonferroni).
    """
    names = list(dict.fromkeys(c.cell.checkpoint for c in found.comparisons))
    images = {c.cell.fraction: float(e.n_images) for c in found.comparisons if (e := estimates.get(c.cell.key))}
    if compare.rule != "crossed" or len(found.fractions) < 2 or len(images) < len(found.fractions):
        return {}

    def curve(name: str) -> list[Scores | None]:
        return [scores.get(f, {}).get(name) if name not in lacking.get(f, ()) else None for f in found.fractions]

    counts = [images[f] for f in found.fractions]
    level = compare.alpha / len(names)
    return {name: worth_in_labels(curve(name), curve(baseline), counts, alpha=level) for name in names}


def worth_words(worth: Worth, who: str, base: str, alpha: float) -> str:
    """`simclr reaches imagenet's score at 500 images with 140 (95 % interval 90 to more than 300)`."""
    at = f"{base}'s score at {worth.images:.0f} images"
    between = f"({percent(1 - alpha)} interval {_interval(worth)})"
    if worth.value == MORE:
        return f"{who} does not reach {at} with up to {worth.most:.0f} {between}"
    if worth.value == FEWER:
        return f"{who} reaches {at} already with the fewest, {worth.fewest:.0f} {between}"
    return f"{who} reaches {at} with {worth.value:.0f} {between}"


def worth_table(tasks: Sequence[TaskFindings], baseline: str, alpha: float) -> Table:
    """A row for each checkpoint and task. Numbers outside what was studied are empty in the CSV and words elsewhere."""
    rows = []
    for found in tasks:
        for name, worth in found.worth.items():
            said = "" if worth.reason else worth_words(worth, name, baseline, alpha)
            rows.append([
                found.task, found.metric, name, baseline, f"{worth.images:.0f}",
                *(_number(n, worth) for n in (worth.value, worth.low, worth.high)), f"{worth.fewest:.0f}",
                f"{worth.most:.0f}", str(len(found.worth)), said, worth.reason,
            ])  # fmt: skip
    words = {"task", "metric", "checkpoint", "baseline", "in words", "reason"}
    return Table("worth", _HEADERS, rows, frozenset(_HEADERS) - words)


def _interval(worth: Worth) -> str:
    if worth.low == worth.high:  # both ends are outside, on the same side
        return f"more than {worth.most:.0f}" if worth.high == MORE else f"{worth.fewest:.0f} or fewer"
    low = f"{worth.fewest:.0f} or fewer" if worth.low == FEWER else f"{worth.low:.0f}"
    return f"{low} to " + (f"more than {worth.most:.0f}" if worth.high == MORE else f"{worth.high:.0f}")


def _number(images: float | None, worth: Worth) -> str:
    if images == FEWER:
        return Shown(f"{worth.fewest:.0f} or fewer", "")
    if images == MORE:
        return Shown(f"more than {worth.most:.0f}", "")
    return number(images, 1)
