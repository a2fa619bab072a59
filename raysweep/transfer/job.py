"""What every protocol is asked to do (Job) and what it gives back (Run): the contract between search and transfer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from raysweep.errors import RequestError, WorkError
from raysweep.model import Model
from raysweep.storage import Storage
from raysweep.transfer.decoders import DecoderChoice
from raysweep.transfer.spec import Adapt, Select

if TYPE_CHECKING:
    from raysweep.transfer.images import Images
    from raysweep.transfer.kept_masks import KeptMasks
    from raysweep.transfer.model_info import Trained


class Diverged(WorkError):
    """Training came to numbers that are none: the setting's own fault, so that repeating it would help nobody.

    The only error of a `Run` that counts against its setting. All others (files, memory, a lost mount) are those of
    the place where it ran, and the same setting is tried again.
    """


@dataclass(frozen=True)
class Job:
    """One checkpoint transferred to one task with one setting. All randomness is a function of `seed`."""

    checkpoint: Storage  # folder with backbone.safetensors
    task: Storage  # folder written by Task.save
    data: str  # folder that the task's own folder stands in
    fold: int  # of the task's divisions; goes into predictions
    train: list[int]  # indices into the task's samples
    val: list[int]  # disjoint from train; settings and weights are chosen by these. Frozen protocols have none
    params: dict[str, Any]  # one point of the protocol's search space; of frozen protocols the whole of it, a path
    steps: int
    evaluations: int  # on val, at `evaluation_steps`
    batch: int
    select: Select
    seed: int
    threads: int = 1  # CPU threads; results are the same to the bit for the same number
    gpu: bool = False
    decoder: DecoderChoice = "unet"  # of segmentation: a name, or {type: name, option: value}
    adaptation: str = ""  # what of the backbone is trained; empty: what the protocol always does
    features: Storage | None = None  # folder written by compute_features; frozen protocols only
    test_features: Mapping[str, Storage] = field(default_factory=dict)  # the same of further test sets, by name

    def __post_init__(self) -> None:
        for name, indices in (("train", self.train), ("val", self.val)):
            if not indices and (name == "train" or self.features is None):
                raise RequestError(f"{name}: no sample is left for it; raise the fraction, or change transfer.val")
        if shared := set(self.train) & set(self.val):
            raise RequestError(f"train and val share sample {min(shared)}; they must be disjoint")


@dataclass(frozen=True)
class Evaluation:
    """Where a run stands after `step` steps. Losses are natural-log; the metric is the card's.

    Of a frozen protocol: what cross-validation says of one setting of its path, `step` being its place there.
    """

    step: int
    train_loss: float | None  # mean over the steps since the last evaluation; None of a frozen protocol
    val_loss: float
    val_metric: float  # nan where undefined (see transfer.metrics)
    setting: dict[str, Any] | None = None  # of a frozen protocol
    micro_batch: int | None = None  # images at a time, where memory did not allow as many as the job's batch has


@dataclass(frozen=True)
class Chosen:
    """The setting that a run chose by itself, from the path of a frozen protocol."""

    params: dict[str, Any]
    by: str  # how, in words
    edge: str  # the setting's name where the best value is at an end of the path, and better than its neighbour


class Run(ABC):
    """A job under way."""

    @abstractmethod
    def advance(self) -> Evaluation | None:
        """Train to the next evaluation and return it; None when the budget is used.

        Reads only train and val samples. Raises Diverged when the loss is no number any more, WorkError when a
        sample cannot be read.
        """

    @abstractmethod
    def predict(
        self, indices: Sequence[int], images: "Images | None" = None, masks: "KeptMasks | None" = None
    ) -> pa.Table:
        """Rows of `predictions_schema(kind)`, one per index in the order asked, by the weights `select` keeps.

        `images` are those of a further test set with the same classes, to be seen as the job's own (`open_images`);
        default: of the job's own task. `masks` is offered every mask that is predicted on the way.

        `val_metric` keeps the weights of the highest metric so far (equal ones: the lower val loss, then the
        earlier), `val_loss` of the lowest loss, `last` the newest. Training can go on afterwards, unchanged.
        """

    def chosen(self) -> Chosen | None:
        """What a frozen protocol chose; None where the job named the setting."""
        return None

    def trained(self) -> "Trained | None":
        """What `predict` predicts by, to be kept; None of a run that has nothing to keep."""
        return None


class Protocol(ABC):
    """A way to transfer. Registered by name; importing its module must not import torch."""

    name: ClassVar[str]
    kinds: ClassVar[frozenset[str]]  # of tasks it can do
    frozen: ClassVar[bool]  # True: the backbone is not trained, and jobs need `features`
    adaptation: ClassVar[str]  # what of the backbone is trained, unless `adaptation_of` says otherwise
    budget: ClassVar[frozenset[str]]  # keys of `transfer:` that change its results; others repeat none of its cells
    why_not: ClassVar[str] = ""  # ends the sentence that refuses a kind

    @abstractmethod
    def settings(self, kind: str) -> type[Model]:
        """The typed model of `Job.params`: what a search space for this kind of task may name."""

    def adaptation_of(self, adapt: Adapt, is_large: Callable[[], bool]) -> str:
        """What is trained of a backbone. Start-up settings are common to one adaptation.

        `adapt` is the study's key; whether the backbone is large is asked only where it matters.
        """
        return self.adaptation

    def settings_of(self, kind: str, adaptation: str) -> type[Model]:
        """`settings` where they depend on the adaptation: each has a search space of its own."""
        return self.settings(kind)

    @abstractmethod
    def start(self, job: Job) -> Run:
        """Load checkpoint and task and be ready to advance. Raises RequestError or WorkError."""
