"""The cells of a study and the features that frozen protocols need: their folders, and the search of them all."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from raysweep.backbones.checkpoint import read_info
from raysweep.backbones.init import card_of
from raysweep.backbones.size import is_large
from raysweep.errors import reason_of
from raysweep.lease import Claims
from raysweep.progress import Progress
from raysweep.storage import Artefact, Storage
from raysweep.study.checkpoints import CheckpointPlan, Pretraining
from raysweep.study.load import StudyFile
from raysweep.study.model import Study
from raysweep.study.tasks import TaskPlan
from raysweep.sweep.cell import Cell, Repeat, repeat_inputs
from raysweep.sweep.sampler import trials_of
from raysweep.sweep.space import load_space
from raysweep.sweep.state import FAILED
from raysweep.tasks.card import Card
from raysweep.transfer.decoders import DecoderChoice
from raysweep.transfer.features import features_inputs
from raysweep.transfer.protocol import get_protocol

if TYPE_CHECKING:
    from raysweep.sweep.run import Found

_WAIT_SECONDS = 2.0  # between looks at features that other runs make


@dataclass(frozen=True)
class FeaturesPlan:
    """Embeddings of one task's images by one checkpoint; `like`: the card of the task whose further test set it is."""

    checkpoint: Artefact
    task: Artefact
    artefact: Artefact
    like: Card | None = None


def plan_cells(
    file: StudyFile,
    home: Storage,
    checkpoints: dict[str, CheckpointPlan],
    tasks: dict[str, TaskPlan],
    decoders: Mapping[str, DecoderChoice],
) -> tuple[list[Cell], list[FeaturesPlan]]:
    """Every cell with its repeats, and every set of features that they need, each once.

    `decoders`: of each segmentation task.

    Raises RequestError for a search space that does not fit its protocol.
    """
    planner = _Planner(file, home, decoders, checkpoints)
    transfer = file.study.transfer
    cells = [
        planner.cell(checkpoint, name, plan, protocol, fraction)
        for name, plan in tasks.items()
        for protocol in transfer.protocols_for(plan.task.card.kind)
        for fraction in transfer.fractions
        for checkpoint in checkpoints.values()
    ]
    return cells, list(planner.features.values())


class _Planner:
    def __init__(
        self,
        file: StudyFile,
        home: Storage,
        decoders: Mapping[str, DecoderChoice],
        checkpoints: dict[str, CheckpointPlan],
    ) -> None:
        self._study, self._folders, self._home, self._decoders = file.study, file.folders, home, decoders
        self._checkpoints = checkpoints
        self._spaces: dict[tuple[str, str, str], dict[str, Any]] = {}  # by protocol, kind and adaptation
        self.features: dict[tuple[Any, ...], FeaturesPlan] = {}  # by fingerprints of checkpoint and set, and px

    def cell(self, checkpoint: CheckpointPlan, task: str, plan: TaskPlan, protocol: str, fraction: float) -> Cell:
        kind = plan.task.card.kind
        transfer = self._study.transfer
        adaptation = get_protocol(protocol).adaptation_of(transfer.adapt, lambda: self._is_large(checkpoint))
        key = (protocol, kind, adaptation)
        if key not in self._spaces:
            self._spaces[key] = load_space(protocol, kind, transfer.spaces, self._folders, adaptation)
            if not get_protocol(protocol).frozen:
                trials_of(self._spaces[key], transfer.sampler, transfer.trials)  # refuses too large a grid
        cell = Cell(checkpoint.name, task, plan.artefact.folder, protocol, kind, fraction, self._spaces[key], (),
                    decoder=self._decoders.get(task), adaptation=adaptation,
                    test_sets={other.name: other.artefact.folder for other in plan.further})  # fmt: skip
        repeats = tuple(self._repeat(cell, number, checkpoint, plan) for number in range(transfer.repeats))
        return replace(cell, repeats=repeats)

    def _is_large(self, checkpoint: CheckpointPlan) -> bool:
        """Of its backbone as the first of its chain builds it."""
        name = checkpoint.spec.backbone or ""
        while checkpoint.parent:
            checkpoint = self._checkpoints[checkpoint.parent]
        spec, start = checkpoint.spec, checkpoint.pretrainings[0].init
        if start is not None:  # of another study
            return is_large(name, read_info(start).arguments)
        card = card_of(spec.init, spec)
        return is_large(name, {**(card.model_args if card else {}), **spec.model_args})

    def _repeat(self, cell: Cell, number: int, checkpoint: CheckpointPlan, plan: TaskPlan) -> Repeat:
        transfer = self._study.transfer
        starts = _by_fold(checkpoint, cell.task, number, plan.n_folds)
        first = _by_fold(checkpoint, cell.task, 0, plan.n_folds)
        served = transfer.search == "once" and number > 0 and not cell.frozen  # by repeat 0's search
        inputs = repeat_inputs(
            transfer,
            checkpoints=[start.artefact.fingerprint for start in starts],
            searched_on=[s.artefact.fingerprint for s in first] if served else None,
            task=plan.artefact.fingerprint,
            protocol=cell.protocol,
            kind=cell.kind,
            fraction=cell.fraction,
            space=cell.space,
            adaptation=cell.adaptation,
            seed=self._study.seed,
            decoder=cell.decoder,
            test_sets={other.name: other.artefact.fingerprint for other in plan.further},
        )
        home = self._home.at("cells", cell.checkpoint, cell.task, cell.protocol, f"{cell.fraction:g}")
        features: tuple[Storage, ...] = ()
        of_tests: dict[str, tuple[Storage, ...]] = {}
        if cell.frozen:
            card = plan.task.card
            of = [partial(self._features_of, start.artefact, checkpoint.name) for start in starts]
            features = tuple(one(card, plan.artefact) for one in of)
            of_tests = {f.name: tuple(one(f.task.card, f.artefact, card) for one in of) for f in plan.further}
        weights = tuple(start.artefact.folder for start in starts)
        return Repeat(number, Artefact(home, inputs, str(number)), starts[0].seed, weights, features, of_tests)

    def _features_of(
        self, weights: Artefact, checkpoint: str, card: Card, task: Artefact, like: Card | None = None
    ) -> Storage:
        """The folder of a set's features; `like`: the card of the task whose further test set it is."""
        px = like.px if like is not None and like.px != card.px else None
        key = (weights.fingerprint, task.fingerprint, px)
        if key not in self.features:
            artefact = Artefact(self._home.at("features", checkpoint, card.name), features_inputs(*key))
            self.features[key] = FeaturesPlan(weights, task, artefact, None if px is None else like)
        return self.features[key].artefact.folder


def _by_fold(checkpoint: CheckpointPlan, task: str, repeat: int, folds: int) -> list[Pretraining]:
    """What a repeat starts from: one for all folds, or one for each where a family's members differ."""
    starts = [checkpoint.of(task, fold, repeat) for fold in range(folds)]
    return starts if any(start is not starts[0] for start in starts) else starts[:1]


def search_cells(
    cells: list[Cell], features: list[FeaturesPlan], study: Study, claims: Claims, progress: Progress
) -> "Found":
    """Make the features that are missing, then search every repeat that is not done. Ray is initialised.

    What fails is noted in its own folder and the rest goes on; what other runs are at is left to them (`claims`).
    Gives back what was left for the next run too, because this one has done what `compute.stop_after_hours` or
    `stop_after_trials` lets it. Raises WorkError when journals cannot be written.
    """
    from raysweep.sweep.run import Limits, search

    data = study.data or "."  # without one, all tasks are made from patch sets of the study
    wanted = {f.root for c in cells for r in c.repeats if not r.artefact.done() for f in r.all_features}
    missing = [f for f in features if f.artefact.folder.root in wanted and not f.artefact.done()]
    lost = _make_features(missing, data, threads=study.compute.threads, claims=claims, progress=progress)
    todo = []
    for cell in cells:
        kept = []
        for repeat in cell.repeats:
            reason = next((lost[f.root] for f in repeat.all_features if f.root in lost), None)
            if reason and not repeat.artefact.done():
                note_failure(repeat.artefact, f"its features could not be computed: {reason}")
            else:
                kept.append(repeat)
        todo.append(cell if len(kept) == len(cell.repeats) else replace(cell, repeats=tuple(kept)))
    compute = study.compute
    return search(todo, study.transfer, study=study.name, seed=study.seed, data=data, threads=compute.threads,
                  trials_at_once=compute.trials_at_once, claims=claims,
                  limits=Limits(compute.stop_after_hours, compute.stop_after_trials), progress=progress)  # fmt: skip


def note_failure(artefact: Artefact, reason: str) -> None:
    """Leave word in an artefact's folder of why the attempt at it failed."""
    artefact.folder.write_json({"reason": reason}, FAILED)


def _make_features(
    plans: list[FeaturesPlan], data: str, *, threads: int, claims: Claims, progress: Progress
) -> dict[str, str]:
    """Make every feature set, or wait for the run that is at it. Returns those that failed: folder root -> reason."""
    if not plans:
        return {}
    import ray

    found = ray.cluster_resources()
    gpus = min(1.0, found.get("GPU", 0.0))
    places = max(1, int(found.get("GPU", 0)) or int(found.get("CPU", 1)) // threads)  # others take what is not begun
    compute = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=3)(_compute)
    todo, working, lost = list(plans), dict[Any, FeaturesPlan](), dict[str, str]()
    with progress.stage("features", len(plans), "sets") as stage:
        while todo or working:
            for plan in list(todo):
                if len(working) == places:
                    break
                if plan.artefact.done():
                    stage.resume(1)
                elif claims.take(plan.artefact.folder):
                    working[compute.remote(plan, data, threads, gpus > 0)] = plan
                else:
                    continue
                todo.remove(plan)
            if not working:
                time.sleep(_WAIT_SECONDS)
                continue
            done, _ = ray.wait(list(working), timeout=_WAIT_SECONDS)
            for one in done:
                plan = working.pop(one)
                try:
                    ray.get(one)
                    stage.advance()
                except Exception as error:
                    cause = getattr(error, "cause", None) or error
                    lost[plan.artefact.folder.root] = reason_of(cause)
                    stage.note(f"features {plan.artefact.folder.root}: failed ({reason_of(cause)})")
                    stage.advance(failed=1)
                claims.release(plan.artefact.folder)
    return lost


def _compute(plan: FeaturesPlan, data: str, threads: int, gpu: bool) -> None:
    from raysweep.transfer.features import compute_features

    if plan.artefact.done():  # by another run, just before this one claimed it
        return
    folders = plan.checkpoint.folder, plan.task.folder
    compute_features(*folders, plan.artefact, data=data, threads=threads, gpu=gpu, like=plan.like)
