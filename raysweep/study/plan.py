"""What `run` would do: every artefact, what exists, and an estimate of what the rest costs."""

from collections import Counter
from dataclasses import dataclass, field

from raysweep.backbones.machine import machine
from raysweep.progress import span
from raysweep.storage import Artefact
from raysweep.study.cells import FeaturesPlan
from raysweep.study.costs import Cost, Costs, total_seconds
from raysweep.study.fates import OUT, Fates
from raysweep.study.graph import Graph, build_graph
from raysweep.study.leakage import leakage_notes
from raysweep.study.load import StudyFile
from raysweep.study.measure import slide_patches
from raysweep.study.node_hours import node_notes
from raysweep.study.own_sets import waiting_sets
from raysweep.study.patch_sets import PatchSetPlan, failed_slides, to_tile
from raysweep.study.power import power_notes
from raysweep.study.pretrainings import FEW, pretraining_notes, pretrainings
from raysweep.study.registering import register_study
from raysweep.study.sources import SourcePlan
from raysweep.study.task_notes import task_notes
from raysweep.sweep.sampler import trials_of
from raysweep.transfer.decoders import decoder_words
from raysweep.transfer.spec import TransferSpec

_HEADER = ["stage", "what", "state", "work", "device", "memory"]
_BYTES_PER_PX = 0.35  # a JPEG of H&E at quality 90, 4:2:0; measured on the demo's and on real slides


@dataclass
class _Totals:
    patches: int = 0
    pixels: float = 0.0
    trials: int = 0
    finals: int = 0


def plan_rows(file: StudyFile, *, register: bool = False) -> tuple[list[str], list[list[str]], list[str]]:
    """A header, a row per artefact (stage, what, state, work, device time, memory) and closing notes with the sums.

    Patches are at most: the grid of the whole slide, or `per_slide`. Times come from a few steps measured here, once
    (see `Speeds`), and stand for a device like this one: a trial's processor threads, or a GPU. Memory is a trial's.
    register: put study, splits and comparison on record; RequestError once a search has begun. Before the patch sets
    that tasks are made from are tiled there are rows for these alone.
    """
    totals, rows = _Totals(), []
    if first := waiting_sets(file):
        for name, plan in first.items():
            _, work = _patch_set(plan, totals, file.study.compute.fetch_bytes)
            rows.append(["tile", f"patch set {name}", _state(plan.artefact), work, "", ""])
        return _HEADER, rows, [
            *[f"to tile: at most {totals.patches:,} patches, about {totals.pixels * _BYTES_PER_PX / 1e9:.2g} GB"]
        * bool(totals.patches),
            "tasks are made from these patch sets, so the rest can be told once they are there: `raysweep tile` of "
            "this study makes them",
        ]  # fmt: skip
    graph = build_graph(file)
    registered = [register_study(graph)] if register else []
    costs = Costs(graph)
    patches: dict[str, int] = {}
    for name, plan in graph.patch_sets.items():
        patches[name], work = _patch_set(plan, totals, file.study.compute.fetch_bytes)
        rows.append(["tile", f"patch set {name}", _state(plan.artefact), work, "", ""])
    for name, source in graph.sources.items():
        patches[name], work = _source(source)
        rows.append(["pretrain", f"source {name}", _state(source.artefact), work, "", ""])
    for label, artefacts, work, cost in pretrainings(graph, patches, costs):
        rows.append(["pretrain", label, _states(artefacts), work, *_cost(cost)])
    rows += _features(graph, costs)
    rows += _cells(graph, totals, costs)
    needed = list(filter(Fates(graph.choices, graph.checkpoints).needs, graph.choices))
    for choice in needed:
        among = len(choice.ballots) - bool(choice.baseline)
        rows.append(
            ["tune", choice.name, _state(choice.artefact), f"{choice.keep} of {among}, by {choice.rule}", "", ""]
        )
    costs.finish()
    notes = [
        *_budget(file.study.transfer),
        *_fits(graph),
        *_further(graph),
        *["choices are not made yet: trials and finals are those of the checkpoints that may be chosen, at most"]
        * any(not c.artefact.done() for c in needed),
        *[f"to tile: at most {totals.patches:,} patches, about {totals.pixels * _BYTES_PER_PX / 1e9:.2g} GB"]
        * bool(totals.patches),
        *pretraining_notes(graph),
        f"to search: {totals.trials:,} trials (fewer steps where they are stopped early) and {totals.finals:,} finals",
        *_time(costs, tiles=bool(totals.patches)),
        *node_notes(costs, totals.pixels),
        *power_notes(graph),
        *registered,
        *task_notes(graph.tasks, file.study.seed),
        *leakage_notes(graph.leakage),
    ]
    return _HEADER, rows, notes


def _cost(cost: Cost) -> tuple[str, str]:
    memory = "" if cost.trial_bytes is None else f"{max(0.1, cost.trial_bytes / 1e9):.1f} GB"
    return ("?" if cost.seconds is None else span(cost.seconds) if cost.seconds else ""), memory


def _time(costs: Costs, *, tiles: bool) -> list[str]:
    """The sums, and what they rest on. tiles: there are slides to be tiled, too."""
    parts = {"pretraining": costs.pretrain, "features": costs.features, "search": costs.tune}
    said = ", ".join(f"{name} {seconds / 3600:.2g}" for name, seconds in parts.items() if seconds)
    hours = sum(parts.values()) / 3600
    threads, found = costs.compute.threads, machine()
    device = found["gpu"] or f"{threads} thread{'s' * (threads > 1)} of {found['processor']}"
    notes = [
        f"about {hours:.2g} device-hours{f' ({said})' * bool(said)}{', tiling apart' * tiles}; a device is {device}"
    ]
    if costs.clock:
        notes.append(f"about {span(costs.clock)} on this machine, which works on {costs.at_once:g} trials at a time")
    if costs.speeds.reckoned:
        notes.append(
            f"not measured but reckoned from what they compute, within a factor of about two: "
            f"{', '.join(costs.speeds.reckoned)}"
        )
    notes += [f"no time is known for {name}: {reason}" for name, reason in costs.speeds.failed.items()]
    return notes


def _budget(transfer: TransferSpec) -> list[str]:
    """What a budget that is named by a word amounts to, with the keys that the study gives itself."""
    if transfer.budget is None:
        return []
    steps = f"{transfer.steps} steps" if transfer.epochs is None else f"{transfer.epochs:g} epochs"
    if transfer.epochs is not None and transfer.steps is not None:
        steps = f"{transfer.steps} steps or {steps}"
    searches = f"{_count(transfer.repeats, 'repeat')} of {_count(transfer.trials, 'trial')} of {steps}"
    return [f"budget {transfer.budget}: {searches}, each with {_count(transfer.evaluations, 'evaluation')}"]


def _fits(graph: Graph) -> list[str]:
    """What the dry runs chose: decoders, and sizes that are not the card's."""
    found = [f"task {task}: decoder {decoder_words(decoder)} for every checkpoint" for task, decoder in
             graph.fits.decoders.items()]  # fmt: skip
    for (checkpoint, task), px in graph.fits.px.items():
        if px != (asked := graph.tasks[task].task.card.px):
            found.append(f"checkpoint {checkpoint} sees task {task} at {px} px for {asked}, in the same field of view")
    return found


def _further(graph: Graph) -> list[str]:
    """What finals are tested on beside their own task."""
    return [
        f"task {name} is also tested on {other.name}: {_count(other.n_tested, 'image')}, {other.part}"
        for name, plan in graph.tasks.items()
        for other in plan.further
    ]


def _state(artefact: Artefact) -> str:
    return "exists" if artefact.done() else "to do"


def _patch_set(plan: PatchSetPlan, totals: _Totals, fetch_bytes: int) -> tuple[int, str]:
    if plan.artefact.done():
        n = int(plan.artefact.manifest()["counts"]["patches"])
        failed = len(failed_slides(plan.artefact.folder)) if to_tile(plan.artefact, plan.spec.export) else 0
        again = f"; {failed} slide{'s' * (failed > 1)} that failed: tried again" if failed else ""
        return n, f"{n:,} patches{again}"
    n = slide_patches(plan.spec, plan.slides, fetch_bytes)
    totals.patches += n
    totals.pixels += n * plan.spec.px**2
    without = f" ({len(plan.excluded)} more are left out for the tasks)" if plan.excluded else ""
    return n, f"{len(plan.slides)} slides{without}, at most {n:,} patches"


def _source(plan: SourcePlan) -> tuple[int, str]:
    """Its patches: at most those of all its images, and one an image before it is known how large they are."""
    if plan.artefact.done():
        n = int(plan.artefact.manifest()["counts"]["patches"])
        return n, f"{n:,} patches"
    return len(plan.task.samples), f"{len(plan.task.samples):,} images"


def _features(graph: Graph, costs: Costs) -> list[list[str]]:
    """A row for each task and checkpoint, or large grid, whatever number of draws or pretrainings it has."""
    names = _of_large_grids(graph)
    sets: dict[str, list[FeaturesPlan]] = {}
    for plan in graph.features:
        *_, checkpoint, task, _ = plan.artefact.folder.root.split("/")
        sets.setdefault(f"features of {task} by {names.get(checkpoint, checkpoint)}", []).append(plan)
    rows = []
    for label, found in sets.items():
        cost = Cost(total_seconds(costs.of_features(plan) for plan in found if not plan.artefact.done()))
        rows.append(
            ["tune", label, _states([plan.artefact for plan in found]), _count(len(found), "set"), *_cost(cost)]
        )
    return rows


def _of_large_grids(graph: Graph) -> dict[str, str]:
    """What to call each point of a grid of many, which are told together."""
    sizes = Counter(plan.row for plan in graph.checkpoints.values())
    return {
        name: f"{plan.row} ({sizes[plan.row]} points)"
        for name, plan in graph.checkpoints.items()
        if sizes[plan.row] > FEW
    }


def _states(artefacts: list[Artefact]) -> str:
    todo = sum(not a.done() for a in artefacts)
    return "exists" if not todo else "to do" if todo == len(artefacts) else "in part"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def _cells(graph: Graph, totals: _Totals, costs: Costs) -> list[list[str]]:
    """A row for each cell; for the points of a large grid one, as tables have."""
    transfer = graph.study.transfer
    fates, first = (
        Fates(graph.choices, graph.checkpoints),
        {c.row: c.name for c in reversed(graph.checkpoints.values())},
    )
    names, found = _of_large_grids(graph), dict[str, list[_Cells]]()
    for cell in graph.cells:
        of = {r.number: fates.of(cell, r.number) for r in cell.repeats}
        todo = [r for r in cell.repeats if not r.artefact.done() and of[r.number] not in OUT]
        if graph.checkpoints[cell.checkpoint].choose_by and cell.checkpoint not in first.values():
            todo = [r for r in todo if of[r.number] != "waits"]  # one of the points will be searched, not each
        tested = [r for r in todo if of[r.number] != "search" or cell.checkpoint in first.values()]  # one of the points
        own = _Cells(folds=graph.tasks[cell.task].n_folds, frozen=cell.frozen)
        if todo:
            each_its_own = transfer.search == "each" or cell.frozen
            searches = len(todo) if each_its_own else sum(r.number == 0 for r in todo)
            each = 0 if cell.frozen else trials_of(cell.space, transfer.sampler, transfer.trials)
            own.repeats, own.trials, own.finals = len(todo), each * searches * own.folds, len(tested) * own.folds
            totals.trials += own.trials
            totals.finals += own.finals
            own.cost = costs.of_cell(cell, len(todo), searches)
        wanted = [r.artefact for r in cell.repeats if of[r.number] not in OUT or r.artefact.done()]
        own.state = _states(wanted) if wanted else of[0]
        label = cell.name.replace(cell.checkpoint, names.get(cell.checkpoint, cell.checkpoint), 1)
        found.setdefault(label, []).append(own)
    rows = []
    for label, some in found.items():
        one = some[0] if len(some) == 1 else _together(some)
        work = ""
        if one.repeats:
            tried = "no trials" if one.frozen else _count(one.trials, "trial")
            work = f"{_count(one.repeats, 'repeat')}: {tried}, {_count(one.finals, 'final')}"
            work += f", {one.folds} folds" if one.folds > 1 else ""
        rows.append(["tune", f"cell {label.replace('/', ' / ')}", one.state, work, *_cost(one.cost)])
    return rows


@dataclass
class _Cells:
    """What is to be done for a cell, or for those of the points of a grid."""

    folds: int
    frozen: bool
    state: str = ""
    repeats: int = 0
    trials: int = 0
    finals: int = 0
    cost: Cost = field(default_factory=Cost)


def _together(some: list[_Cells]) -> _Cells:
    states = {one.state for one in some} - set(OUT) or {some[0].state}
    memories = [one.cost.trial_bytes for one in some if one.cost.trial_bytes is not None]
    return _Cells(
        folds=some[0].folds,
        frozen=some[0].frozen,
        state=states.pop() if len(states) == 1 else "in part",
        repeats=sum(one.repeats for one in some),
        trials=sum(one.trials for one in some),
        finals=sum(one.finals for one in some),
        cost=Cost(total_seconds(one.cost for one in some), max(memories, default=None)),
    )
