"""What `run` would do: every artefact, what exists, and an estimate of what the rest costs."""

from dataclasses import dataclass

from raysweep.pretrain.inputs import settings
from raysweep.storage import MANIFEST, Artefact
from raysweep.study.checkpoints import CheckpointPlan
from raysweep.study.fates import OUT, Fates
from raysweep.study.graph import Graph, build_graph
from raysweep.study.leakage import leakage_notes
from raysweep.study.load import StudyFile
from raysweep.study.measure import seconds_per_image, slide_patches
from raysweep.study.patch_sets import PatchSetPlan, failed_slides, to_tile
from raysweep.study.sources import SourcePlan
from raysweep.sweep.sampler import trials_of
from raysweep.tasks.splits import folds
from raysweep.transfer.decoders import decoder_words
from raysweep.transfer.spec import TransferSpec

_BYTES_PER_PX = 0.35  # a JPEG of H&E at quality 90, 4:2:0; measured on the demo's and on real slides


@dataclass
class _Totals:
    patches: int = 0
    bytes: float = 0.0
    trials: int = 0
    finals: int = 0
    seconds: float = 0.0


def plan_rows(file: StudyFile) -> tuple[list[str], list[list[str]], list[str]]:
    """A header, a row per artefact (stage, what, state, work) and closing notes with the sums.

    Patches are at most: the grid of the whole slide, or `per_slide`. Times come from a few training steps measured
    here, on one thread, and stand for a device like this one.
    """
    graph = build_graph(file)
    totals, rows = _Totals(), []
    patches: dict[str, int] = {}
    for name, plan in graph.patch_sets.items():
        patches[name], work = _patch_set(plan, totals, file.study.compute.fetch_bytes)
        rows.append(["tile", f"patch set {name}", _state(plan.artefact), work])
    for name, source in graph.sources.items():
        patches[name], work = _source(source)
        rows.append(["pretrain", f"source {name}", _state(source.artefact), work])
    for checkpoint in graph.checkpoints.values():
        for label, artefacts in checkpoint.labelled():
            state = _states(artefacts)
            work = "" if state == "exists" else _pretraining(checkpoint, patches, totals)
            rows.append(["pretrain", label, state, work])
    rows += _features(graph)
    rows += _cells(graph, totals)
    rows += [["tune", c.name, _state(c.artefact), f"{c.keep} of {len(c.ballots) - bool(c.baseline)}, by {c.rule}"]
             for c in filter(Fates(graph.choices, graph.checkpoints).needs, graph.choices)]  # fmt: skip
    notes = [
        *_budget(file.study.transfer),
        *_fits(graph),
        *_further(graph),
        *(
            ["choices are not made yet: trials and finals are those of the checkpoints that may be chosen, at most"]
            if any(not c.artefact.done() for c in filter(Fates(graph.choices, graph.checkpoints).needs, graph.choices))
            else []
        ),
        f"to tile: at most {totals.patches:,} patches, about {totals.bytes / 1e9:.2g} GB",
        f"to search: {totals.trials:,} trials (fewer steps where they are stopped early) and {totals.finals:,} finals",
        f"about {totals.seconds / 3600:.2g} device-hours on one thread of this machine, tiling apart",
        *leakage_notes(graph.leakage),
    ]
    return ["stage", "what", "state", "work"], rows, notes


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
    totals.bytes += n * plan.spec.px**2 * _BYTES_PER_PX
    without = f" ({len(plan.excluded)} more are left out for the tasks)" if plan.excluded else ""
    return n, f"{len(plan.slides)} slides{without}, at most {n:,} patches"


def _source(plan: SourcePlan) -> tuple[int, str]:
    """Its patches: at most those of all its images, and one an image before it is known how large they are."""
    if plan.artefact.done():
        n = int(plan.artefact.manifest()["counts"]["patches"])
        return n, f"{n:,} patches"
    return len(plan.task.samples), f"{len(plan.task.samples):,} images"


def _pretraining(plan: CheckpointPlan, patches: dict[str, int], totals: _Totals) -> str:
    if plan.spec.method is None:
        return "no training" if len(plan.artefacts) == 1 else f"drawn anew for each of {len(plan.artefacts)} repeats"
    n = 0
    for source in {name: source for (name, _), source in plan.inputs.items()}.values():
        known = patches.get(source.name)
        n += int(source.folder.read_json(MANIFEST)["counts"]["patches"]) if known is None else known
    chosen = settings(plan.spec)
    assert chosen is not None
    patches_seen = chosen.steps * chosen.batch if chosen.steps else n * (chosen.epochs or 1)
    images = patches_seen * 2  # two views, or one forward and its share of the data work
    px = plan.spec.px or 224
    totals.seconds += images * seconds_per_image(plan.spec.backbone or "", px)
    about = "about" if plan.labelled_sets else "at most"
    passes = f"{chosen.steps:,} steps of {chosen.batch}" if chosen.steps else f"{chosen.epochs} epochs"
    return f"{passes} of {about} {n:,} patches"


def _features(graph: Graph) -> list[list[str]]:
    """A row for each task and checkpoint, whatever number of draws or pretrainings it has."""
    sets: dict[str, list[Artefact]] = {}
    for plan in graph.features:
        *_, checkpoint, task, _ = plan.artefact.folder.root.split("/")
        sets.setdefault(f"features of {task} by {checkpoint}", []).append(plan.artefact)
    return [["tune", label, _states(found), _count(len(found), "set")] for label, found in sets.items()]


def _states(artefacts: list[Artefact]) -> str:
    todo = sum(not a.done() for a in artefacts)
    return "exists" if not todo else "to do" if todo == len(artefacts) else "in part"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def _cells(graph: Graph, totals: _Totals) -> list[list[str]]:
    transfer, rows = graph.study.transfer, []
    trained = {name: len(folds(plan.task, graph.study.seed)[0].train) for name, plan in graph.tasks.items()}
    fates, first = (
        Fates(graph.choices, graph.checkpoints),
        {c.row: c.name for c in reversed(graph.checkpoints.values())},
    )
    for cell in graph.cells:
        of = {r.number: fates.of(cell, r.number) for r in cell.repeats}
        todo = [r for r in cell.repeats if not r.artefact.done() and of[r.number] not in OUT]
        tested = [r for r in todo if of[r.number] != "search" or cell.checkpoint in first.values()]  # one of the points
        work = ""
        if todo:
            plan = graph.tasks[cell.task]
            searches = len(todo) if transfer.search == "each" else sum(r.number == 0 for r in todo)
            each = 0 if cell.frozen else trials_of(cell.space, transfer.sampler, transfer.trials)
            trials = each * searches * plan.n_folds
            finals = len(tested) * plan.n_folds
            totals.trials += trials
            totals.finals += finals
            if not cell.frozen:
                backbone = graph.checkpoints[cell.checkpoint].spec.backbone or ""
                pool = trained[cell.task]
                steps = transfer.steps_for(pool, max(1, round(pool * cell.fraction * (1 - transfer.val))))
                images = (trials + finals) * steps * transfer.batch
                totals.seconds += images * seconds_per_image(backbone, graph.fits.px[cell.checkpoint, cell.task])
            tried = "no trials (a path, cross-validated)" if cell.frozen else _count(trials, "trial")
            work = f"{_count(len(todo), 'repeat')}: {tried}, {_count(finals, 'final')}"
            work += f" in {plan.n_folds} folds" if plan.n_folds > 1 else ""
        wanted = [r.artefact for r in cell.repeats if of[r.number] not in OUT or r.artefact.done()]
        state = _states(wanted) if wanted else of[0]
        rows.append(["tune", f"cell {cell.name.replace('/', ' / ')}", state, work])
    return rows
