"""What a study's patients can decide, for `plan`: a sentence for each task."""

from raysweep.report.enough import FEWEST_OF_CLASS, FEWEST_RUNS, FEWEST_UNITS
from raysweep.report.power import ASSUMED, earlier_components, power_of
from raysweep.report.sizes import unit_words
from raysweep.report.tables import metric_words
from raysweep.study.graph import Graph
from raysweep.study.tasks import TaskPlan
from raysweep.tasks.card import METRICS
from raysweep.tasks.splits import folds
from raysweep.transfer.metrics import get_metric


def power_notes(graph: Graph) -> list[str]:
    """For the primary comparison of each task: `glas-grade: 16 test patients, 5 repeats: differences of balanced
    accuracy below about 0.24 cannot be found (...); the margin 0.02 cannot be decided, 0.19 could`.

    Nothing is computed from predictions: the components are those of the report that is there, else assumed.
    """
    curves = len(graph.rows) - 1
    if curves < 1:
        return []
    protocol = graph.compare.primary.protocol
    return [
        _note(graph, name, plan, curves)
        for name, plan in graph.tasks.items()
        if protocol in graph.study.transfer.protocols_for(plan.task.card.kind)
    ]


def _note(graph: Graph, name: str, plan: TaskPlan, curves: int) -> str:
    transfer, compare, card = graph.study.transfer, graph.compare, plan.task.card
    asked = compare.primary.metric
    metric = asked if asked and asked in METRICS[card.kind] else card.metrics[0]
    tested = [plan.task.samples[i] for fold in folds(plan.task, graph.study.seed) for i in fold.test]
    units = {sample.unit for sample in tested}
    said = f"{name}: {len(units)} test {unit_words(card.unit, len(units))}, {_count(transfer.repeats, 'repeat')}: "
    if len(units) < FEWEST_UNITS:
        return f"{said}no verdict is possible, at least {FEWEST_UNITS} test units are needed"
    if transfer.repeats < FEWEST_RUNS:
        return f"{said}no verdict is possible, at least {FEWEST_RUNS} repeats are needed"
    if get_metric(metric, card.kind).by_class:
        for number, label in enumerate(card.classes):
            held = {sample.unit for sample in tested if number in sample.classes}
            if 0 < len(held) < FEWEST_OF_CLASS:
                return (
                    f"{said}no verdict is possible, class {label} has {len(held)} of the test units and "
                    f"{metric_words(metric)} needs {FEWEST_OF_CLASS} in each"
                )
    points = len(transfer.fractions)
    comparisons = curves * (points + (points > 1))  # and the mean over fractions
    found = earlier_components(graph.home, name, metric) or ASSUMED[card.kind]
    power = power_of(found, n_units=len(units), n_repeats=transfer.repeats, alpha=compare.alpha, margin=compare.margin,
                     comparisons=comparisons, curves=curves)  # fmt: skip
    said += f"differences of {metric_words(metric)} below about {power.smallest:.2g} cannot be found"
    if compare.margin:
        decided = power.equal <= compare.margin
        said += f"; the margin {compare.margin:g} can be decided" if decided else (
            f"; the margin {compare.margin:g} cannot be decided, {power.equal:.2g} could"
        )  # fmt: skip
        said += "; more patients cannot settle it, more repeats can" if power.repeats_first else ""
    return (
        f"{said} (power 80 %, {_count(comparisons, 'comparison')}; spread between units {found.unit:.2g}, repeats "
        f"{found.seed:.2g}, rest {found.rest:.2g}: {found.source})"
    )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"
