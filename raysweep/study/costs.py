"""What the artefacts of a study cost on this machine: its counts, put into the arithmetic of `forecast`."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from raysweep.backbones.machine import machine
from raysweep.pretrain.inputs import Settings
from raysweep.study.cells import FeaturesPlan
from raysweep.study.checkpoints import CheckpointPlan
from raysweep.study.fits import architecture_of
from raysweep.study.forecast import (
    ACTOR_START,
    evaluation_seconds,
    features_seconds,
    final_seconds,
    frozen_seconds,
    pretraining_seconds,
    search_clock,
    training_seconds,
    trial_bytes,
    trial_seconds,
)
from raysweep.study.graph import Graph
from raysweep.study.speeds import Speeds
from raysweep.sweep.cell import Cell
from raysweep.sweep.sampler import trials_of
from raysweep.sweep.share import expected_share
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task
from raysweep.transfer.budget import evaluation_steps
from raysweep.transfer.speed_record import PictureCost, Speed


@dataclass
class Cost:
    """Device-seconds and, of a fine-tuning, the memory of one trial; None where it cannot be said."""

    seconds: float | None = 0.0
    trial_bytes: float | None = None


def total_seconds(costs: Iterable[Cost]) -> float | None:
    """The sum; None where one of them is not known."""
    seconds = [cost.seconds for cost in costs]
    return None if None in seconds else sum(s for s in seconds if s is not None)


@dataclass
class _Sizes:
    """Of a task's folds: images to train on at fraction 1, those of a given val split, and those tested in a fold."""

    pool: int
    given_val: int
    tested: float


@dataclass
class Costs:
    """Adds up what it is asked for. `pretrain`, `features` and `tune` are device-seconds, `clock` is on the wall.

    `chains` of the search are (seconds, how many of them), each one trial after another.
    """

    graph: Graph
    pretrain: float = 0.0
    features: float = 0.0
    tune: float = 0.0
    clock: float = 0.0
    chains: list[tuple[float, int]] = field(default_factory=list)
    _pretrainings: list[float] = field(default_factory=list)  # seconds on the clock of each
    _decoded: set[tuple[str, str]] = field(default_factory=set)
    _sizes: dict[str, _Sizes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.compute = self.graph.study.compute
        self.speeds = Speeds(self.compute.threads)
        self._sets: dict[str, tuple[Task, str]] = {}
        for plan in self.graph.tasks.values():
            self._sets |= {other.name: (other.task, other.artefact.fingerprint) for other in plan.further}
            self._sets[plan.task.card.name] = plan.task, plan.artefact.fingerprint

    @property
    def at_once(self) -> float:
        """Trials that this machine works on at full speed at the same time."""
        most = machine()["gpus"] or max(1.0, self._cpus / self.compute.threads)
        return min(self.compute.trials_at_once or most, most)

    def finish(self) -> None:
        """Add the starts of actors and the search to the sums, and keep what was measured."""
        self.features += ACTOR_START * self.at_once if self.features else 0.0
        self.tune += ACTOR_START * self.at_once if self.chains else 0.0
        self.clock += self._pretraining_clock()
        self.clock += self.features / self.at_once + search_clock(self.chains, self.at_once)
        self.speeds.save()

    def _pretraining_clock(self) -> float:
        """Of all, as many at once as have places, if none waits for another."""
        devices = machine()["gpus"] or max(1.0, self._cpus / self.compute.threads)
        fit = max(1, int(devices // min(self.compute.workers, devices)))
        at_once = min(fit, self.compute.pretrainings_at_once or fit)
        return max(sum(self._pretrainings) / at_once, max(self._pretrainings, default=0.0))

    def of_pretraining(self, plan: CheckpointPlan, chosen: Settings, patches: int) -> Cost:
        """Of one of a checkpoint's pretrainings on so many patches."""
        source = next(iter(plan.inputs.values()))
        spec = self.graph.study.patches.get(source.name)
        px = spec.px if spec else chosen.px or 224
        speed = self.speeds.pretraining(architecture_of(plan, self.graph.checkpoints), chosen, px)
        if speed is None:
            return Cost(None)
        steps = chosen.steps or (chosen.epochs or 1) * (patches // chosen.batch)
        workers = self.compute.workers
        seconds = pretraining_seconds(speed, patches=steps * chosen.batch, steps=steps, workers=workers)
        devices = machine()["gpus"] or max(1.0, self._cpus / self.compute.threads)
        self.pretrain += seconds
        self._pretrainings.append(seconds / min(workers, devices))
        return Cost(seconds)

    def of_features(self, plan: FeaturesPlan) -> Cost:
        *_, checkpoint, name, _ = plan.artefact.folder.root.split("/")
        task, _ = self._sets[name]
        px = plan.like.px if plan.like else task.card.px
        speed = self._features_speed(checkpoint, px)
        if speed is None:
            return Cost(None)
        seconds = features_seconds(speed, self._pictures(name, "features"), len(task.samples))
        self.features += seconds
        return Cost(seconds)

    def of_cell(self, cell: Cell, repeats: int, searches: int) -> Cost:
        """Of so many repeats that are to be done, `searches` of which have a search of their own."""
        folds_of_task = self.graph.tasks[cell.task].n_folds
        trials, final, memory = (0.0, self._frozen(cell), None) if cell.frozen else self._finetuning(cell)
        if final is None or trials is None:
            return Cost(None)
        self.chains += [(trials + final, searches * folds_of_task), (final, (repeats - searches) * folds_of_task)]
        seconds = folds_of_task * (searches * trials + repeats * final)
        self.tune += seconds
        return Cost(seconds, memory)

    def _frozen(self, cell: Cell) -> float | None:
        """A final in one fold."""
        card = self.graph.tasks[cell.task].task.card
        speed = self._features_speed(cell.checkpoint, card.px)
        if speed is None:
            return None
        sizes = self._sizes_of(cell.task)
        values = next(iter(cell.space.values()))["values"]
        n = max(len(card.classes), round((sizes.pool + sizes.given_val) * cell.fraction))
        fits = self.speeds.fits(cell.protocol, values, n=n, width=speed.width, n_classes=len(card.classes))
        return frozen_seconds(fits, len(values))

    def _finetuning(self, cell: Cell) -> tuple[float | None, float | None, float | None]:
        """The search of a repeat in one fold, its final, and a trial's memory."""
        plan, transfer = self.graph.tasks[cell.task], self.graph.study.transfer
        card, sizes = plan.task.card, self._sizes_of(cell.task)
        built = architecture_of(self.graph.checkpoints[cell.checkpoint], self.graph.checkpoints)
        speed = self.speeds.finetuning(built, card, cell.decoder or "")
        if speed is None:
            return None, None, None
        drawn = sizes.pool * cell.fraction
        val = sizes.given_val * cell.fraction or drawn * transfer.val
        steps = transfer.steps_for(sizes.pool, max(1, round(drawn if sizes.given_val else drawn - val)))
        ends = tuple(evaluation_steps(steps, transfer.evaluations))
        adapters = cell.adaptation == "lora"
        pictures = self._pictures(cell.task, "search")
        training = training_seconds(speed, pictures, steps=steps, batch=transfer.batch, adapters=adapters)

        def scored(images: float, pictures: PictureCost = pictures) -> float:
            masks = card.kind == "segmentation"
            return evaluation_seconds(speed, pictures, images, classes=len(card.classes), masks=masks)

        look = scored(min(val, transfer.val_images))
        further = sum(scored(other.n_tested, self._pictures(other.name, "search")) for other in plan.further)
        trials = trials_of(cell.space, transfer.sampler, transfer.trials)
        share = expected_share(transfer.early_stopping, trials, ends)
        trial = trial_seconds(training, look, evaluations=len(ends), share=share, start=speed.start)
        final = final_seconds(training, look, scored(sizes.tested) + further, evaluations=len(ends), start=speed.start)
        rank = cell.space.get("rank", 8)
        rank = rank.get("default", 8) if isinstance(rank, dict) else rank
        memory = trial_bytes(speed, batch=transfer.batch, adapter_rank=rank if adapters else None,
                             half=bool(machine()["gpus"]))  # fmt: skip
        return trials * trial, final, memory

    def _features_speed(self, checkpoint: str, px: int) -> Speed | None:
        built = architecture_of(self.graph.checkpoints[checkpoint], self.graph.checkpoints)
        return self.speeds.features(built, px)

    def _pictures(self, name: str, stage: str) -> PictureCost:
        """Of a set's pictures. Those that a machine holds are decoded by the first who wants them, in each stage."""
        task, identity = self._sets[name]
        cost = self.speeds.pictures(task, identity)
        if (name, stage) not in self._decoded:
            self._decoded.add((name, stage))
            seconds = cost.held * cost.decode * len(task.samples)
            if stage == "search":
                self.tune += seconds
            else:
                self.features += seconds
        return cost

    def _sizes_of(self, name: str) -> _Sizes:
        if name not in self._sizes:
            divisions = folds(self.graph.tasks[name].task, self.graph.study.seed)
            first = divisions[0]
            tested = sum(len(fold.test) for fold in divisions) / len(divisions)
            self._sizes[name] = _Sizes(len(first.train), len(first.val or ()), tested)
        return self._sizes[name]

    @property
    def _cpus(self) -> int:
        return self.compute.cpus or machine()["cpus"]
