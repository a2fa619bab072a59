"""Run a study: make what it needs and does not have yet, stage by stage, and report."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.lease import lease
from raysweep.pretrain.trackers import check_trackers
from raysweep.progress import Progress
from raysweep.report.registration import record
from raysweep.secrets import redacted
from raysweep.slides.outcomes import NoPatchSet
from raysweep.storage import MANIFEST, Artefact, Storage
from raysweep.study.cells import note_failure, search_cells
from raysweep.study.checkpoints import CheckpointPlan, Pretraining, make_checkpoint
from raysweep.study.decide import make_choices
from raysweep.study.failures import failures
from raysweep.study.fates import Fates
from raysweep.study.graph import Graph, build_graph, study_folder
from raysweep.study.load import StudyFile
from raysweep.study.own_sets import make_own_sets
from raysweep.study.patch_sets import make_patch_set, to_tile
from raysweep.study.reporting import make_report
from raysweep.study.sources import make_source, to_write
from raysweep.study.tasks import save_index
from raysweep.study.thumbnails import make_thumbnails
from raysweep.sweep.cell import Cell
from raysweep.sweep.state import FAILED

if TYPE_CHECKING:
    from raysweep.study.nodes import Nodes

STAGES = ("tile", "pretrain", "tune", "report")


@dataclass
class Outcome:
    """What a run left behind: the report, everything that failed on the way, one line each, and the names of the
    repeats that a limit of `compute` left for the next run.
    """

    home: Storage
    report: Storage | None = None
    failures: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What a reader is told of failures and of what is left, as far as it fits a screen."""
        said = [f"failed: {line}" for line in self.failures[:20]]
        if len(self.failures) > 20:
            said.append(f"... and {len(self.failures) - 20} more: `raysweep status` lists them")
        if self.left:
            some = ", ".join(self.left[:3]) + (" ..." if len(self.left) > 3 else "")
            count = f"{len(self.left)} repeat{'s' * (len(self.left) != 1)}"
            said.append(f"left for the next run, as compute.stop_after_... says: {count} ({some})")
        return said


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
    with ExitStack() as stack:
        if "tile" in stages:
            make_own_sets(file, home, progress, stack)
        graph = build_graph(file)
        if "pretrain" in stages and any(plan.spec.method for plan in graph.checkpoints.values()):
            check_trackers(file.study.compute.trackers)
        if only is not None:
            _check_only(graph, only)
        stack.enter_context(lease(home))
        home.write_json(redacted(file.study.model_dump(mode="json")), "study.json")
        graph.identities.save()
        _drop_notes(graph.artefacts())
        work = _Work(graph, only, progress, stack, some_stages=tuple(stages) != STAGES)
        work.index()
        for stage in stages:
            getattr(work, stage)()
            work.give_back()
        return work.outcome()


class _Work:
    """One run: its stages, in the order that they are called."""

    def __init__(
        self, graph: Graph, only: str | None, progress: Progress, stack: ExitStack, *, some_stages: bool
    ) -> None:
        self.graph, self.only, self.progress, self.stack, self.some_stages = graph, only, progress, stack, some_stages
        self._nodes: Nodes | None = None
        self.report_folder: Storage | None = None
        self.left: list[str] = []

    def index(self) -> None:
        """Keep what was found of the files of tasks, further test sets and sources."""
        found = [(plan.task, plan.artefact) for plan in self.graph.tasks.values()]
        found += [(other.task, other.artefact) for plan in self.graph.tasks.values() for other in plan.further]
        found += [(source.task, source.index) for source in self.graph.sources.values() if not source.tested]
        for task, artefact in found:
            save_index(task, artefact)
            _point(artefact.home, [artefact])

    def tile(self) -> None:
        graph = self.graph
        seen = [plan.contents for plan in graph.patch_sets.values()]
        lacking = []
        for plan in self._narrowed(graph.patch_sets):
            if to_tile(plan.artefact, plan.spec.export):
                work = partial(make_patch_set, plan, graph.home, seed=graph.study.seed, compute=graph.study.compute,
                               progress=self.progress)  # fmt: skip
                error = self._attempt(f"patch set {plan.name}", plan.artefact, work)
                lacking += [error] if isinstance(error, NoPatchSet) and not plan.artefact.done() else []
            _point(plan.artefact.home, [plan.artefact])
        if lacking:  # what is made from the rest of the slides would be made again
            raise WorkError("; ".join(map(str, lacking)))
        if seen != [plan.contents for plan in graph.patch_sets.values()]:
            self._look_again()

    def _look_again(self) -> None:
        """What is made from patch sets depends on which slides and images failed, which is known now."""
        old, self.graph = self.graph, build_graph(self.graph.file, self.graph)
        known = {artefact.folder.root for artefact in old.artefacts()}
        kept = {artefact.folder.root for artefact in self.graph.artefacts()}
        stale = [a.folder.root for a in old.artefacts() if a.folder.root not in kept and a.done()]
        if stale:
            found = Counter(root.removeprefix(old.home.root).split("/")[1] for root in stale)
            self.progress.say(
                f"{found['checkpoints']} checkpoints and {found['cells']} repeats were made from patch sets that have"
                " changed; they do not count any more, and `raysweep clean` lists them"
            )
        _drop_notes([a for a in self.graph.artefacts() if a.folder.root not in known])

    def pretrain(self) -> None:
        self._write_sources()
        for plan in sorted(self._narrowed(self.graph.checkpoints), key=self._generation):
            for number, made in enumerate(plan.pretrainings):
                if not made.artefact.done():
                    self._wants(plan, made)
                    label = f"checkpoint {plan.name}" + (f" ({number})" if len(plan.pretrainings) > 1 else "")
                    work = partial(make_checkpoint, plan, made, self.graph.study, self.progress)
                    self._attempt(label, made.artefact, work, train=None if plan.spec.method is None else True)
            _point(plan.artefacts[0].home, plan.artefacts)

    def _write_sources(self) -> None:
        """The labelled sets that checkpoints draw from, as patch sets."""
        graph = self.graph
        seen = [source.contents for source in graph.sources.values()]
        wanted = {name for plan in self._narrowed(graph.checkpoints) for name in plan.labelled_sets}
        for name, source in graph.sources.items():
            if name not in wanted:
                continue
            if to_write(source):
                work = partial(make_source, source, seed=graph.study.seed, compute=graph.study.compute,
                               progress=self.progress)  # fmt: skip
                self._attempt(f"source {name}", source.artefact, work)
            _point(source.artefact.home, [source.artefact])
        if seen != [source.contents for source in graph.sources.values()]:
            self._look_again()

    def _generation(self, plan: CheckpointPlan) -> int:
        """A checkpoint comes after the one it starts from, in whatever order a study names them."""
        return 0 if plan.parent is None else 1 + self._generation(self.graph.checkpoints[plan.parent])

    def _wants(self, plan: CheckpointPlan, made: Pretraining) -> None:
        """With only some stages asked for, what this one reads must be there already."""
        if not self.some_stages:
            return
        for name in plan.patch_sets:
            if not self.graph.patch_sets[name].artefact.done():
                raise RequestError(f"patch set {name} is not there yet; run `raysweep tile` for this study first")
        if self.only and made.init is not None and not made.init.exists(MANIFEST):
            raise RequestError(
                f"checkpoint {plan.parent} is not there yet; run `raysweep pretrain` without --only first"
            )

    def tune(self) -> None:
        """Search in rounds: what a choice waits for, then what it chose; one round where there is nothing to choose."""
        tried: set[tuple[str, bool]] = set()  # folders of repeats, and whether a final was wanted
        while True:
            make_choices(self.graph.choices)
            todo = self._to_search(tried)
            if all(r.artefact.done() for cell in todo for r in cell.repeats):
                break
            tried |= {(r.artefact.folder.root, r.final) for cell in todo for r in cell.repeats}
            self._want(train=True)
            self._thumbnails()
            record(self.graph.home, self.graph.compare)
            self.left = search_cells(todo, self.graph.features, self.graph.study, self.progress)
            if self.left:
                break
        fates = Fates(self.graph.choices, self.graph.checkpoints)
        for cell in self._cells():
            if used := [r.artefact for r in cell.repeats if fates.of(cell, r.number) != "screened out"]:
                _point(used[0].home, used)
        homes: dict[str, list[Artefact]] = {}
        for choice in self.graph.choices:
            homes.setdefault(choice.artefact.home.root, []).append(choice.artefact)
        for made in homes.values():
            _point(made[0].home, made)

    def _to_search(self, tried: set[tuple[str, bool]]) -> list[Cell]:
        """The cells with those of their repeats that can be worked on, as the choices stand, or are done."""
        fates, todo = Fates(self.graph.choices, self.graph.checkpoints), []
        for cell in self._cells():
            kept = []
            for repeat in cell.repeats:
                fate, done = fates.of(cell, repeat.number), repeat.artefact.done()
                wanted = replace(repeat, final=fate == "all")
                again = not done and (repeat.artefact.folder.root, wanted.final) in tried
                if again or fate not in ("all", "search"):
                    continue
                if done or all(w.exists(MANIFEST) for w in repeat.weights):
                    kept.append(wanted)
                elif self.some_stages:
                    raise RequestError(
                        f"checkpoint {cell.checkpoint} is not there yet; run `raysweep pretrain` for this study first"
                    )
                else:
                    note_failure(repeat.artefact, f"its checkpoint {cell.checkpoint} could not be made")
            todo.append(replace(cell, repeats=tuple(kept)))
        return todo

    def _thumbnails(self) -> None:
        """Of test images, those whose masks finals will keep among them."""
        study, tasks = self.graph.study, self.graph.tasks
        folders = {c.task: tasks[c.task].artefact.folder for c in self._cells()}
        make_thumbnails(folders, data=study.data or "", seed=study.seed, progress=self.progress)

    def report(self) -> None:
        self.report_folder = make_report(self.graph)

    def outcome(self) -> Outcome:
        return Outcome(self.graph.home, self.report_folder, failures(self.graph), self.left)

    def _cells(self) -> list[Cell]:
        return [c for c in self.graph.cells if self.only in (None, c.checkpoint, c.task)]

    def _narrowed(self, plans: dict) -> list:
        named = [plan for name, plan in plans.items() if name == self.only]
        return named or (list(plans.values()) if self.only is None else [])

    def _attempt(
        self, label: str, artefact: Artefact, work: Callable[[], None], *, train: bool | None = False
    ) -> Exception | None:
        """Do one piece of work, which trains or reads on nodes of Ray's (None: neither); its failure is recorded, and
        returned.
        """
        try:
            if train is not None:
                self._want(train=train)
            work()
        except Exception as error:
            if not isinstance(error, RequestError | WorkError) and self.progress.debug:
                raise
            if not artefact.done():  # a patch set that was tried again may be as it was
                try:
                    note_failure(artefact, reason_of(error))
                except WorkError:  # a full disk: nothing else can be done either
                    raise error from None
            self.progress.failed(label, reason_of(error))
            return error
        return None

    def _want(self, *, train: bool) -> None:
        from raysweep.study.nodes import Nodes  # brings ray, which a run that finds everything done does without

        if self._nodes is None:
            study = self.graph.study
            paths = {s.path.rsplit("/", 1)[0] for p in self.graph.patch_sets.values() for s in p.slides}
            paths |= {study.data} if study.data else set()
            self._nodes = Nodes(study.compute, self.graph.home, sorted(paths), self.progress, self.stack)
        self._nodes.want(train=train)

    def give_back(self) -> None:
        """Keep no nodes that a stage has asked for."""
        if self._nodes is not None:
            self._nodes.give_back()


def _point(home: Storage, artefacts: list[Artefact]) -> None:
    """Let `<name>/current` name the folders in use, each once."""
    text = "".join(f"{name}\n" for name in dict.fromkeys(a.fingerprint[:8] for a in artefacts)).encode()
    if not home.exists("current") or home.read_bytes("current") != text:
        home.write_bytes(text, "current")


def _drop_notes(artefacts: Sequence[Artefact]) -> None:
    """Forget recorded failures: this run tries again."""
    for artefact in artefacts:
        if not artefact.done() and artefact.folder.exists(FAILED):
            artefact.folder.remove(FAILED)


def _check_only(graph: Graph, only: str) -> None:
    known = [*graph.patch_sets, *graph.checkpoints, *graph.tasks]
    if only not in known:
        raise RequestError(
            f"--only {only}: no patch set, checkpoint or task of this study has that name ({', '.join(known)})"
        )
