"""The stages of one run of a study, in the order that they are called."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.lease import Claims, who
from raysweep.progress import Progress
from raysweep.report.registration import record
from raysweep.slides.outcomes import NoPatchSet
from raysweep.storage import MANIFEST, Artefact, Storage
from raysweep.study.cells import note_failure, search_cells
from raysweep.study.checkpoints import CheckpointPlan, Pretraining, make_checkpoint
from raysweep.study.decide import make_choices
from raysweep.study.fates import Fates
from raysweep.study.graph import Graph, build_graph
from raysweep.study.patch_sets import make_patch_set, to_tile
from raysweep.study.pretrain_stage import pretrain_all
from raysweep.study.reporting import make_report
from raysweep.study.sources import make_source, to_write
from raysweep.study.task_notes import task_notes
from raysweep.study.tasks import save_index
from raysweep.study.thumbnails import make_thumbnails
from raysweep.study.todo import to_search
from raysweep.sweep.cell import Cell, Repeat, piece_of
from raysweep.sweep.state import FAILED

if TYPE_CHECKING:
    from raysweep.study.nodes import Nodes

_WAIT_SECONDS = 5.0  # between looks at what other runs make
_LISTED_SECONDS = 1.0  # a listing of their claims serves for all checkpoints that are looked at in this time


class Stages:
    """One run of a study, perhaps beside others: what those are at is left to them, or waited for."""

    def __init__(
        self,
        graph: Graph,
        only: str | None,
        progress: Progress,
        stack: ExitStack,
        claims: Claims,
        *,
        some_stages: bool,
    ) -> None:
        self.graph, self.only, self.progress, self.stack, self.some_stages = graph, only, progress, stack, some_stages
        self._claims = claims
        self._nodes: Nodes | None = None
        self.report_folder: Storage | None = None
        self.left: list[str] = []
        self._attempted: set[str] = set()  # folders of checkpoints
        self._others: set[str] = set()  # folders that other runs were at, when they were last listed
        self._listed = float("-inf")

    def begin(self) -> None:
        """Keep what was found of the files of slides, tasks, further test sets and sources; forget what failed."""
        self.graph.identities.save()
        for note in task_notes(self.graph.tasks, self.graph.study.seed):
            self.progress.say(note)
        self._drop_notes(self.graph.artefacts())
        found = [(plan.task, plan.artefact) for plan in self.graph.tasks.values()]
        found += [(other.task, other.artefact) for plan in self.graph.tasks.values() for other in plan.further]
        found += [(source.task, source.index) for source in self.graph.sources.values() if not source.tested]
        for task, artefact in found:
            save_index(task, artefact)
            _point(artefact.home, [artefact])

    def tile(self) -> None:
        """One run at a time: what slides have in common is read once."""
        todo = any(to_tile(p.artefact, p.spec.export) for p in self._narrowed(self.graph.patch_sets))
        with self._turn("patches", "which tiles") if todo else nullcontext():
            self._tile()
        if self.graph.changed():
            self._look_again()

    def _tile(self) -> None:
        graph = self.graph
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
        self._drop_notes([a for a in self.graph.artefacts() if a.folder.root not in known])

    def _drop_notes(self, artefacts: Sequence[Artefact]) -> None:
        """Forget recorded failures: this run tries again."""
        others = self._claims.others()
        for artefact in artefacts:
            root = artefact.folder.root
            if not artefact.done() and root not in others and artefact.folder.exists(FAILED):
                artefact.folder.remove(FAILED)

    def pretrain(self) -> None:
        """Make every checkpoint that no other run is at, and that starts from nothing that another one makes."""
        self._write_sources()
        plans = self._narrowed(self.graph.checkpoints)
        try:
            pretrain_all(plans, self.graph, self.progress, self._open, self._attempt, self._make,
                         partial(self._want, train=True))  # fmt: skip
        finally:
            for plan in plans:
                _point(plan.artefacts[0].home, plan.artefacts)

    def _open(self, plan: CheckpointPlan, made: Pretraining) -> bool:
        """Whether a checkpoint is still to be made, by this run and now."""
        tried = made.artefact.folder.root in self._attempted
        if made.artefact.done() or tried or (made.init and self._comes(made.init)):
            return False
        self._check_inputs(plan, made)
        return True

    def _make(self, plan: CheckpointPlan, made: Pretraining, progress: Progress, name: str) -> None:
        self._attempted.add(made.artefact.folder.root)
        if not made.artefact.done():  # by another run, just before this one claimed it
            make_checkpoint(plan, made, self.graph.study, progress, name=name)

    def _comes(self, folder: Storage) -> bool:
        """Whether a checkpoint that is not there is being made by another run, or what it starts from is."""
        if folder.exists(MANIFEST):
            return False
        if time.monotonic() - self._listed > _LISTED_SECONDS:
            self._others, self._listed = set(self._claims.others()), time.monotonic()
        inits = {p.artefact.folder.root: p.init for plan in self.graph.checkpoints.values() for p in plan.pretrainings}
        init = inits.get(folder.root)
        return folder.root in self._others or (init is not None and self._comes(init))

    def _write_sources(self) -> None:
        """The labelled sets that checkpoints draw from, as patch sets."""
        names = {name for plan in self._narrowed(self.graph.checkpoints) for name in plan.labelled_sets}
        todo = any(to_write(source) for name, source in self.graph.sources.items() if name in names)
        with self._turn("patches", "which writes patch sets") if todo else nullcontext():
            self._write()
        if self.graph.changed():
            self._look_again()

    def _write(self) -> None:
        graph = self.graph
        wanted = {name for plan in self._narrowed(graph.checkpoints) for name in plan.labelled_sets}
        for name, source in graph.sources.items():
            if name not in wanted:
                continue
            if to_write(source):
                work = partial(make_source, source, seed=graph.study.seed, compute=graph.study.compute,
                               progress=self.progress)  # fmt: skip
                self._attempt(f"source {name}", source.artefact, work)
            _point(source.artefact.home, [source.artefact])

    def _check_inputs(self, plan: CheckpointPlan, made: Pretraining) -> None:
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
        """Search in rounds: what a choice waits for, then what it chose; one round where there is nothing to choose.

        What other runs are at is left to them; this one waits where what they make is needed here.
        """
        tried: set[tuple[str, bool]] = set()  # folders of repeats, and whether a final was wanted
        while True:
            with self._claims.turn(self.graph.home.at("choices")):
                make_choices(self.graph.choices)
            todo, awaited = to_search(self.graph, self._cells(), tried, self._awaited, some_stages=self.some_stages)
            undone = [(cell, r) for cell in todo for r in cell.repeats if not r.artefact.done()]
            others = self._claims.others()
            free = [r for cell, r in undone if self._piece(cell, r) not in others]
            if not free:
                if not awaited and not (undone and self._chooses()):
                    break
                self.give_back()  # no node is kept for nothing
                time.sleep(_WAIT_SECONDS)
                if not self.some_stages:
                    self.pretrain()  # what the dead have left
                continue
            now = {(r.artefact.folder.root, r.final) for r in free}
            self._want(train=True)
            with self._turn("tasks", "which draws thumbnails"):
                self._thumbnails()
                record(self.graph.home, self.graph.compare)
            found = search_cells(todo, self.graph.features, self.graph.study, self._claims, self.progress)
            tried |= {key for key in now if key[0] not in found.others}
            self.left = found.left
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

    def _chooses(self) -> bool:
        """Whether there are choices to come."""
        fates = Fates(self.graph.choices, self.graph.checkpoints)
        return any(not choice.artefact.done() for choice in filter(fates.needs, self.graph.choices))

    def _awaited(self, weights: Storage) -> bool:
        """Whether weights that are not there are to come: another run makes them, or this one has not tried yet."""
        if weights.exists(MANIFEST):
            return False
        own = {a.folder.root for plan in self.graph.checkpoints.values() for a in plan.artefacts} - self._attempted
        return self._comes(weights) or (not self.some_stages and weights.root in own)

    def _piece(self, cell: Cell, repeat: Repeat) -> str:
        return piece_of(cell, repeat, self.graph.study.transfer).root

    def _thumbnails(self) -> None:
        """Of test images, those whose masks finals will keep among them."""
        study, tasks = self.graph.study, self.graph.tasks
        folders = {c.task: tasks[c.task].artefact.folder for c in self._cells()}
        make_thumbnails(folders, data=study.data or "", seed=study.seed, progress=self.progress)

    def report(self) -> None:
        """Unless other runs are still at work on the study, the last of which makes it."""
        if self.some_stages or not self.others():
            with self._turn("report", "which writes the report"):
                self.report_folder = make_report(self.graph)

    def others(self) -> list[str]:
        """The processes that are at what this study still lacks."""
        found = self._claims.others()
        if not found:
            return []
        wanted = [(a.folder.root, a) for a in self.graph.artefacts()]
        wanted += [(self._piece(cell, r), r.artefact) for cell in self.graph.cells for r in cell.repeats]
        return sorted({who(found[root]) for root, artefact in wanted if root in found and not artefact.done()})

    def _turn(self, folder: str, does: str) -> AbstractContextManager[None]:
        """Have for the block what one run at a time does."""
        return self._claims.turn(
            self.graph.home.at(folder), lambda other: self.progress.say(f"waiting for {other}, {does}")
        )

    def _cells(self) -> list[Cell]:
        return [c for c in self.graph.cells if self.only in (None, c.checkpoint, c.task)]

    def _narrowed(self, plans: dict) -> list:
        named = [plan for name, plan in plans.items() if name == self.only]
        return named or (list(plans.values()) if self.only is None else [])

    def _attempt(
        self, label: str, artefact: Artefact, work: Callable[[], None], *, train: bool | None = False
    ) -> Exception | None:
        """Do one piece of work, which trains or reads on nodes of Ray's (None: neither), unless another run is at it.
        Its failure is recorded, and returned.
        """
        if not self._claims.take(artefact.folder):
            return None
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
        finally:
            self._claims.release(artefact.folder)
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
