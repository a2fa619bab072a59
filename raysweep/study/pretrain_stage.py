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
from raysweep.study.checkpoints import CheckpointPlan, Pretraining
from raysweep.study.graph import Graph
from raysweep.study.model import Compute

Made = tuple[CheckpointPlan, Pretraining]


class Attempt(Protocol):
    """Does one piece of work, unless another run is at it, and records its failure.

    train: whether it trains on Ray (None: needs no Ray).
    """

    def __call__(
        self, label: str, artefact: Artefact, work: Callable[[], None], *, train: bool | None
    ) -> Exception | None: ...


def pretrain_all(
    plans: Sequence[CheckpointPlan],
    graph: Graph,
    progress: Progress,
    is_open: Callable[[CheckpointPlan, Pretraining], bool],
    attempt: Attempt,
    make: Callable[[CheckpointPlan, Pretraining, Progress, str], None],
    want: Callable[[], None],
) -> None:
    """Make those of the checkpoints that are `is_open`; what fails is recorded, and the rest goes on.

    Pretrainings do not depend on each other but for their inits, so several at once give what one after another does.
    is_open: is asked when what it starts from has ended. attempt: has `make` make one, which is shown by a name.
    want: has the nodes for training, or raises what `attempt` would record.
    """
    of: dict[int, list[Made]] = {}
    for plan in plans:  # each after what it starts from, in whatever order a study names them
        of.setdefault(_generation(plan, graph), []).extend((plan, made) for made in plan.pretrainings)

    def one(each: Made, shown: Progress, stopping: threading.Event) -> Exception | None:
        plan, made = each
        name = f"{plan.name} ({plan.pretrainings.index(made)})" if len(plan.pretrainings) > 1 else plan.name
        work = partial(_unless, stopping, partial(make, plan, made, shown, name))
        return attempt(f"checkpoint {name}", made.artefact, work, train=None if plan.spec.method is None else True)

    for number in sorted(of):
        todo, stopping = [each for each in of[number] if is_open(*each)], threading.Event()
        trained = [each for each in todo if each[0].spec.method is not None]
        slots = min(len(trained), _slots(graph.study.compute, want)) if len(trained) > 1 else 1
        for each in todo if slots < 2 else [each for each in todo if each[0].spec.method is None]:
            one(each, progress, stopping)
        if slots < 2:
            continue
        with progress.stage(f"pretrain, {slots} at once", len(trained), "checkpoints") as stage:
            calls = [partial(one, each, _Beside(progress), stopping) for each in trained]
            for error in _in_threads(calls, slots, stopping):
                stage.advance(failed=int(error is not None))


def _generation(plan: CheckpointPlan, graph: Graph) -> int:
    return 0 if plan.parent is None else 1 + _generation(graph.checkpoints[plan.parent], graph)


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
        def show(stage: Stage, note: str | None) -> None:
            if note:
                self.say(note)

        stage = self._stage(name, total, unit, show)
        yield stage
        self._measure(stage, now=True)
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
