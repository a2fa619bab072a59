"""The pretraining stage of a run: each checkpoint after the one that it starts from, as many at once as fit."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from raysweep.errors import RequestError
from raysweep.progress import Progress, Stage
from raysweep.stopping import Stopped
from raysweep.storage import Artefact
from raysweep.study.checkpoints import CheckpointPlan, Pretraining, make_checkpoint
from raysweep.study.graph import Graph
from raysweep.study.model import Compute


class Attempt(Protocol):
    """Does one piece of work and records its failure; `train`: whether it trains on Ray (None: needs no Ray)."""

    def __call__(
        self, label: str, artefact: Artefact, work: Callable[[], None], *, train: bool | None
    ) -> Exception | None: ...


def pretrain_all(
    plans: Sequence[CheckpointPlan], graph: Graph, progress: Progress, attempt: Attempt, want: Callable[[], None]
) -> None:
    """Make those of the checkpoints that are not there; what fails is recorded, and the rest goes on.

    Pretrainings do not depend on each other but for their inits, so several at once give what one after another does.
    attempt: what makes and records one. want: has the nodes for training, or raises what `attempt` would record.
    """
    compute = graph.study.compute
    for generation in _generations(plans, graph):
        drawn = [(plan, made) for plan, made in generation if plan.spec.method is None]
        trained = [(plan, made) for plan, made in generation if plan.spec.method is not None]
        for plan, made in drawn:
            attempt(_label(plan, made), made.artefact, _work(plan, made, graph, progress), train=None)
        slots = min(len(trained), _slots(compute, want)) if len(trained) > 1 else 1
        if slots < 2:
            for plan, made in trained:
                attempt(_label(plan, made), made.artefact, _work(plan, made, graph, progress), train=True)
            continue
        with progress.stage(f"pretrain, {slots} at once", len(trained), "checkpoints") as stage:
            beside, stopping = _Beside(progress), threading.Event()
            calls = [
                partial(attempt, _label(plan, made), made.artefact,
                        partial(_unless, stopping, _work(plan, made, graph, beside)), train=True)
                for plan, made in trained
            ]  # fmt: skip
            for error in _in_threads(calls, slots, stopping):
                stage.advance(failed=int(error is not None))


def _generations(plans: Sequence[CheckpointPlan], graph: Graph) -> Iterator[list[tuple[CheckpointPlan, Pretraining]]]:
    """What is still to be made, each list after what it starts from, in whatever order a study names them."""
    of: dict[int, list[tuple[CheckpointPlan, Pretraining]]] = {}
    for plan in plans:
        todo = [(plan, made) for made in plan.pretrainings if not made.artefact.done()]
        of.setdefault(_generation(plan, graph), []).extend(todo)
    yield from (of[number] for number in sorted(of))


def _generation(plan: CheckpointPlan, graph: Graph) -> int:
    return 0 if plan.parent is None else 1 + _generation(graph.checkpoints[plan.parent], graph)


def _label(plan: CheckpointPlan, made: Pretraining) -> str:
    return f"checkpoint {_name(plan, made)}"


def _name(plan: CheckpointPlan, made: Pretraining) -> str:
    many = len(plan.pretrainings) > 1
    return f"{plan.name} ({plan.pretrainings.index(made)})" if many else plan.name


def _work(plan: CheckpointPlan, made: Pretraining, graph: Graph, progress: Progress) -> Callable[[], None]:
    return partial(make_checkpoint, plan, made, graph.study, progress, name=_name(plan, made))


def _slots(compute: Compute, want: Callable[[], None]) -> int:
    """How many pretrainings Ray's CPUs, or GPUs, have places for."""
    try:
        want()
    except Exception:  # the first of them says what it is
        return 1
    import ray

    from raysweep.pretrain.fit import loader_of

    found = ray.cluster_resources()
    cpus, gpus = int(found.get("CPU", 0)), int(found.get("GPU", 0))
    workers = min(compute.workers, gpus) if gpus else compute.workers
    fit = min(cpus // (workers * compute.threads), gpus // workers if gpus else cpus)
    try:
        if loader_of(compute.team(), workers, gpus > 0) == "data":  # each needs CPUs beside those of its workers
            fit = min(fit, cpus // (workers * (compute.threads + 2)))
    except RequestError:
        return 1
    return max(1, min(fit, compute.pretrainings_at_once or fit))


class _Beside(Progress):
    """Of pretrainings at once: notes, and a line for each that has ended, but no bar."""

    def __init__(self, main: Progress) -> None:
        super().__init__(main.console, quiet=main.quiet, debug=main.debug)
        self._main = main

    def say(self, text: str) -> None:
        self._main.say(text)

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Stage]:
        def show(stage: Stage, note: str | None = None) -> None:
            if note:
                self.say(note)

        stage = Stage(name, total, unit, show)
        yield stage
        self.say(stage.line().plain)


def _unless(stopping: threading.Event, work: Callable[[], None]) -> None:
    """Do it; what goes wrong once the run is stopped is no failure of it."""
    try:
        if not stopping.is_set():
            work()
    except Exception:
        if stopping.is_set():
            raise Stopped from None
        raise


def _in_threads(
    calls: Sequence[Callable[[], Exception | None]], slots: int, stopping: threading.Event
) -> Iterator[Exception | None]:
    """What the calls return as they end, or the first that is raised; `stopping` is set when nobody waits any more.

    Threads are daemons: one that waits for a Ray that is gone does not keep the program.
    """
    todo: queue.SimpleQueue[Callable[[], Exception | None]] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[Exception | None, BaseException | None]] = queue.SimpleQueue()
    for call in calls:
        todo.put(call)

    def serve() -> None:
        while not stopping.is_set():
            try:
                call = todo.get_nowait()
            except queue.Empty:
                return
            try:
                ended.put((call(), None))
            except BaseException as error:
                ended.put((None, error))

    for number in range(slots):
        threading.Thread(target=serve, name=f"pretrain-{number}", daemon=True).start()
    try:
        for _ in calls:
            returned, raised = ended.get()
            if raised is not None:
                raise raised
            yield returned
    finally:
        stopping.set()
