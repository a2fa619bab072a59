"""What to buy next, in a sentence for each task and a table."""

from collections.abc import Mapping, Sequence

from raysweep.report.cells import percent
from raysweep.report.findings import Estimate
from raysweep.report.purchase import LABELS, REPEATS, UNITS, Purchase
from raysweep.report.sizes import unit_words
from raysweep.report.tables import Table, number

_HEADERS = ("task", "metric", "fraction", "checkpoint", "baseline", "half-width", "bought", "then", "half-width then",
            "ratio")  # fmt: skip


def purchase_sentence(purchase: Purchase, estimates: Mapping[str, Estimate], baseline: str) -> str:
    """`glands, simclr at 10 %: its interval is ±5.0 points; with 32 test patients instead of 16 ±3.6 ...`"""
    c, (best, *_) = purchase.comparison, purchase.offers
    e = estimates.get(c.cell.key)
    said = [_offer(offer, purchase, e) for offer in purchase.offers]
    most = f"Twice the {_bought(best[0], purchase, e)} would narrow it most"
    if best[2] >= 0.98 * purchase.half:  # a fiftieth is nothing to buy
        most = "Neither would narrow it"
    return (
        f"{c.cell.task}, the comparison nearest to a verdict: {c.cell.checkpoint} with {baseline} at "
        f"{percent(c.cell.fraction)}, interval ±{_points(purchase.half)} points. {most}: {'; '.join(said)}."
    )


def purchases_table(purchases: Sequence[Purchase], baseline: str) -> Table:
    """A row for each thing that could be bought, the best of each task first."""
    rows = []
    for p in purchases:
        c = p.comparison
        for bought, amount, half in p.offers:
            what = f"{bought} and pretrainings" if bought == REPEATS and p.with_pretrainings else bought
            rows.append([c.cell.task, c.metric, f"{c.cell.fraction:g}", c.cell.checkpoint, baseline, number(p.half),
                         what, str(amount), number(half), number(half / p.half, 2)])  # fmt: skip
    words = {"task", "metric", "checkpoint", "baseline", "bought"}
    return Table("purchases", _HEADERS, rows, frozenset(_HEADERS) - words)


def _offer(offer: tuple[str, int, float], purchase: Purchase, e: Estimate | None) -> str:
    what, amount, half = offer
    said = f"{amount} {_bought(what, purchase, e)} ±{_points(half)}"
    return f"{said} (by the slope over this task's numbers of labels)" if what == LABELS else said


def _bought(what: str, purchase: Purchase, e: Estimate | None) -> str:
    if what == UNITS and e:
        return f"test {unit_words(e.unit, 2)}"
    return "repeats and pretrainings" if what == REPEATS and purchase.with_pretrainings else what


def _points(value: float) -> str:
    return f"{100 * value:.1f}"
