"""Run a study: make what it needs and does not have yet, stage by stage, and report."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from raysweep import __version__
from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.lease import lease
from raysweep.progress import Progress
from raysweep.report.cells import CellRef
from raysweep.storage import MANIFEST, Artefact, Storage, fingerprint
from raysweep.study.failures import failure_of, failures
from raysweep.study.graph import Graph, build_graph, study_folder
from raysweep.study.load import StudyFile
from raysweep.study.resolve import CheckpointPlan, PatchSetPlan
from raysweep.study.retry import failed_slides, to_tile
from raysweep.sweep.cell import Cell
from raysweep.sweep.state import FAILED

STAGES = ("tile", "pretrain", "tune", "report")


@dataclass
class Outcome:
    """What a run left behind: the report, and everything that failed on the way, one line each."""

    home: Storage
    report: Storage | None = None
    failures: list[str] = field(default_factory=list)


def run_study(
    file: StudyFile,
    *,
    stages: Sequence[str] = STAGES,
    only: str | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Make everything a study needs and does not have yet; run again to resume or to retry what failed.

    Args:
        file: the study, as read by `load_study`.
        stages: some of `tile`, `pretrain`, `tune` and `report`, in that order.
        only: narrows a stage to the patch set, checkpoint or task of this name.
        progress: where to show it; default: standard error.

    Raises RequestError, before anything starts, when the study cannot be run; WorkError when a stage that the
    rest depends on could not be done.
    """
    progress = progress or Progress()
    home = study_folder(file.study)
    home.check_writable()
    graph = build_graph(file)
    if only is not None:
        _check_only(graph, only)
    with lease(home), ExitStack() as stack:
        home.write_json(file.study, "study.json")
        _drop_notes(graph.artefacts())
        work = _Work(graph, only, progress, stack, some_stages=tuple(stages) != STAGES)
        work.index()
        for stage in stages:
            getattr(work, stage)()
        return work.outcome()


class _Work:
    """One run: Ray is started by the first stage that needs it."""

    def __init__(
        self, graph: Graph, only: str | None, progress: Progress, stack: ExitStack, *, some_stages: bool
    ) -> None:
        self.graph, self.only, self.progress, self.stack, self.some_stages = graph, only, progress, stack, some_stages
        self.report_folder: Storage | None = None
        self._ray_is_up = False

    def index(self) -> None:
        """Keep what was found of the tasks' files, for the workers and for the next run."""
        for plan in self.graph.tasks.values():
            if not plan.artefact.done():
                plan.task.save(plan.artefact.folder)
                counts = {"samples": len(plan.task.samples), "excluded": len(plan.task.excluded)}
                plan.artefact.commit(config=plan.task.card, counts=counts, timings={})
            self._point(plan.artefact.home, [plan.artefact])

    def tile(self) -> None:
        seen = [plan.contents for plan in self.graph.patch_sets.values()]
        for plan in self._narrowed(self.graph.patch_sets):
            if to_tile(plan.artefact):
                self._attempt(f"patch set {plan.name}", plan.artefact, partial(self._tile, plan))
            self._point(plan.artefact.home, [plan.artefact])
        if seen != [plan.contents for plan in self.graph.patch_sets.values()]:
            self._look_again()

    def _tile(self, plan: PatchSetPlan) -> None:
        self._ray()
        from raysweep.slides.pipeline import Limits
        from raysweep.slides.tile import tile

        compute = self.graph.study.compute
        tile(plan.spec, plan.slides, plan.artefact, self.graph.home.at("spool"), seed=self.graph.study.seed,
             workers=compute.tile_workers, progress=self.progress,
             limits=Limits(compute.region_mpx, compute.stage_gb))  # fmt: skip

    def _look_again(self) -> None:
        """What is made from patch sets depends on which of their slides failed, which is known now."""
        old, self.graph = self.graph, build_graph(self.graph.file, self.graph.patch_sets)
        known = {artefact.folder.root for artefact in old.artefacts()}
        kept = {artefact.folder.root for artefact in self.graph.artefacts()}
        stale = [a.folder.root for a in old.artefacts() if a.folder.root not in kept and a.done()]
        if stale:
            found = Counter(root.removeprefix(old.home.root).split("/")[1] for root in stale)
            self.progress.say(
                f"{found['checkpoints']} checkpoints and {found['cells']} cells were made from patch sets that have"
                " changed; they do not count any more, and `raysweep clean` lists them"
            )
        _drop_notes([a for a in self.graph.artefacts() if a.folder.root not in known])

    def pretrain(self) -> None:
        for plan in sorted(self._narrowed(self.graph.checkpoints), key=self._generation):
            for seed, artefact in enumerate(plan.artefacts):
                if not artefact.done():
                    self._wants(plan, seed)
                    label = f"checkpoint {plan.name}" + (f" (seed {seed})" if len(plan.artefacts) > 1 else "")
                    self._attempt(label, artefact, partial(self._pretrain, plan, seed))
            self._point(plan.artefacts[0].home, plan.artefacts)

    def _generation(self, plan: CheckpointPlan) -> int:
        """A checkpoint comes after the one it starts from, in whatever order a study names them."""
        return 0 if plan.parent is None else 1 + self._generation(self.graph.checkpoints[plan.parent])

    def _wants(self, plan: CheckpointPlan, seed: int) -> None:
        """With only some stages asked for, what this one reads must be there already."""
        if not self.some_stages:
            return
        if plan.patch_set and not self.graph.patch_sets[plan.patch_set].artefact.done():
            raise RequestError(f"patch set {plan.patch_set} is not there yet; run `raysweep tile` for this study first")
        init = plan.inits[seed]
        if self.only and init is not None and not init.exists(MANIFEST):
            raise RequestError(
                f"checkpoint {plan.parent} is not there yet; run `raysweep pretrain` without --only first"
            )

    def _pretrain(self, plan: CheckpointPlan, seed: int) -> None:
        init = plan.inits[seed]
        if init is not None and not init.exists(MANIFEST):
            raise WorkError(f"its init {plan.parent} could not be made")
        if plan.patches is not None and not plan.patches.exists(MANIFEST):
            raise WorkError(f"its patch set {plan.patch_set} could not be made")
        if plan.spec.method:
            self._ray()
        from raysweep.pretrain.launch import pretrain

        compute = self.graph.study.compute
        pretrain(plan.spec, plan.artefacts[seed], name=plan.name, init=init, patches=plan.patches,
                 seed=self.graph.study.seed, pretraining_seed=seed, workers=compute.workers,
                 threads=compute.threads, progress=self.progress)  # fmt: skip

    def tune(self) -> None:
        todo = [c for c in self._cells() if not c.artefact.done()]
        lost = {name for name, plan in self.graph.checkpoints.items() if not all(a.done() for a in plan.artefacts)}
        for cell in todo:
            if cell.checkpoint in lost:
                if self.some_stages:
                    raise RequestError(
                        f"checkpoint {cell.checkpoint} is not there yet; run `raysweep pretrain` for this study first"
                    )
                _note_failure(cell.artefact, f"its checkpoint {cell.checkpoint} could not be made")
        todo = [c for c in todo if c.checkpoint not in lost]
        if todo:
            self._ray()
            self._search(todo)
        for cell in self._cells():
            self._point(cell.artefact.home, [cell.artefact])

    def _search(self, cells: list[Cell]) -> None:
        from raysweep.study.features import make_features
        from raysweep.sweep.run import search

        graph, compute = self.graph, self.graph.study.compute
        wanted = {f.root for c in cells for f in c.features}
        features = [f for f in graph.features if f.artefact.folder.root in wanted and not f.artefact.done()]
        lost = make_features(features, threads=compute.threads, progress=self.progress)
        for cell in list(cells):
            reason = next((lost[f.root] for f in cell.features if f.root in lost), None)
            if reason:
                _note_failure(cell.artefact, f"its features could not be computed: {reason}")
                cells.remove(cell)
        search(cells, graph.study.transfer, study=graph.study.name, seed=graph.study.seed, threads=compute.threads,
               trials_at_once=compute.trials_at_once, progress=self.progress)  # fmt: skip

    def report(self) -> None:
        graph = self.graph
        refs = [_cell_ref(graph, cell) for cell in graph.cells]
        state = {
            "raysweep": __version__,  # a newer one may draw another page
            "compare": graph.study.compare.model_dump(mode="json"),
            "study": graph.study.name,
            "artefacts": [[a.fingerprint, a.done()] for a in graph.artefacts()],
            "failed": [failed_slides(p.artefact.folder) for p in graph.patch_sets.values()],
            "cells": [[r.path, r.status, r.reason] for r in refs],
        }
        folder = graph.home.at("report")
        if not (folder.exists(MANIFEST) and folder.read_json(MANIFEST)["state"] == fingerprint(state)):
            from raysweep.report.write import write_report

            write_report(
                graph.home,
                study=graph.study.name,
                compare=graph.study.compare,
                patch_sets={n: p.artefact.folder for n, p in graph.patch_sets.items()},
                checkpoints={n: [a.folder for a in p.artefacts] for n, p in graph.checkpoints.items()},
                cells=refs,
            )
            folder.write_json({"state": fingerprint(state), "inputs": state}, MANIFEST)
        self.report_folder = folder

    def outcome(self) -> Outcome:
        return Outcome(self.graph.home, self.report_folder, failures(self.graph))

    def _cells(self) -> list[Cell]:
        return [c for c in self.graph.cells if self.only in (None, c.checkpoint, c.task)]

    def _narrowed(self, plans: dict) -> list:
        named = [plan for name, plan in plans.items() if name == self.only]
        return named or (list(plans.values()) if self.only is None else [])

    def _attempt(self, label: str, artefact: Artefact, work: Callable[[], None]) -> None:
        """Do one piece of work; its failure is recorded and the rest goes on."""
        try:
            work()
        except Exception as error:
            if not isinstance(error, RequestError | WorkError) and self.progress.debug:
                raise
            if not artefact.done():  # a patch set that was tried again may be as it was
                _note_failure(artefact, reason_of(error))
            self.progress.say(f"{label}: failed ({reason_of(error)})")

    def _ray(self) -> None:
        if self._ray_is_up:
            return
        from raysweep.study.cluster import ask_for, check_nodes, cluster

        compute = self.graph.study.compute
        self.stack.enter_context(cluster(self.progress, cpus=compute.cpus))
        self.stack.callback(ask_for(compute.cpus, compute.gpus, self.progress))
        self._ray_is_up = True
        paths = {s.path.rsplit("/", 1)[0] for p in self.graph.patch_sets.values() for s in p.slides}
        if self.graph.study.data:
            paths.add(self.graph.study.data)
        check_nodes(self.graph.home, sorted(paths))

    @staticmethod
    def _point(home: Storage, artefacts: list[Artefact]) -> None:
        """Let `<name>/current` name the folders in use."""
        text = "".join(f"{a.fingerprint[:8]}\n" for a in artefacts).encode()
        if not home.exists("current") or home.read_bytes("current") != text:
            home.write_bytes(text, "current")


def _note_failure(artefact: Artefact, reason: str) -> None:
    artefact.folder.write_json({"reason": reason}, FAILED)


def _drop_notes(artefacts: Sequence[Artefact]) -> None:
    """Forget recorded failures: this run tries again."""
    for artefact in artefacts:
        if not artefact.done() and artefact.folder.exists(FAILED):
            artefact.folder.remove(FAILED)


def _cell_ref(graph: Graph, cell: Cell) -> CellRef:
    folder = cell.artefact.folder
    reason = failure_of(cell.artefact)
    status = "done" if cell.artefact.done() else "failed" if reason else "waiting"
    return CellRef(folder=folder, path=folder.root.removeprefix(graph.home.root).lstrip("/"),
                   checkpoint=cell.checkpoint, task=cell.task, kind=cell.kind, protocol=cell.protocol,
                   fraction=cell.fraction, status=status, reason=reason or "",
                   unit=graph.tasks[cell.task].task.card.unit)  # fmt: skip


def _check_only(graph: Graph, only: str) -> None:
    known = [*graph.patch_sets, *graph.checkpoints, *graph.tasks]
    if only not in known:
        raise RequestError(
            f"--only {only}: no patch set, checkpoint or task of this study has that name ({', '.join(known)})"
        )
