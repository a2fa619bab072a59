"""What a pretraining method is. Light: torch is imported where the parts of a model are made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.patches.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from raysweep.pretrain.batch import Batch


@dataclass(frozen=True)
class TrainingProgress:
    """Where training is: the step under way (from 0) of how many, and its epoch (from 0) of how many."""

    step: int
    steps: int
    epoch: int
    epochs: int

    def cosine(self, start: float, end: float) -> float:
        """Half a cosine from `start` at the first step to `end` at the last (Loshchilov & Hutter 2017)."""
        import math

        done = self.step / max(1, self.steps - 1)
        return end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class SourceClasses:
    """What a source is called, and the names that its labels index."""

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Parameters that are optimised alike: factors of the learning rate and of the weight decay.

    Biases, normalisation layers and what timm exempts by name (class tokens, position embeddings) are never decayed.
    """

    parameters: "list[nn.Parameter]"
    lr_factor: float = 1.0
    decay_factor: float = 1.0


class Method:
    """A pretraining objective: its module, views, loss, what happens around a step, and its defaults.

    A method builds one module that holds everything it keeps from step to step (a teacher, heads, a queue), so that
    all of it is saved and resumed. Parameters that are trained by other means than the optimiser have
    `requires_grad` off. A step has two parts: `forward` runs the networks, in bfloat16 where the training does;
    `loss` gets what they gave in float32. On several ranks, each sees its share of the batch. The mean over ranks of
    the loss must be the loss of the whole batch, in value and gradient: what couples samples (negatives, codes,
    correlations) is gathered with `raysweep.pretrain.ranks`. Normalisation layers share their statistics already.
    """

    Options: ClassVar[type[Model]]
    paper: ClassVar[str]  # where the method is described
    needs_labels: ClassVar[bool] = False
    only_vit: ClassVar[bool] = False  # works on timm's plain vision transformers alone
    accumulates: ClassVar[bool] = True  # the loss is a mean over samples, so a batch can be worked on in parts
    sources_alike: ClassVar[bool] = False  # draws from every source equally often, whatever its size
    optimizer: ClassVar[str] = "adamw"
    lr: ClassVar[dict[str, float]]  # peak learning rate at `lr_batch` patches a step, by optimiser
    betas: ClassVar[tuple[float, float] | None] = None  # of AdamW; None: 0.9 and 0.999
    lr_batch: ClassVar[int] = 256
    lr_rule: ClassVar[Literal["linear", "sqrt"]] = "linear"  # how the rate grows with the batch
    weight_decay: ClassVar[float]
    weight_decay_end: ClassVar[float | None] = None  # half a cosine leads there; None: constant
    clip: ClassVar[float | None] = None  # largest norm of the gradient
    warmup: ClassVar[float] = 0.1  # part of the steps
    epochs: ClassVar[int] = 100  # default budget; a few methods count in steps
    steps: ClassVar[int | None] = None
    batch_norm: ClassVar[str] = "keep"  # see CheckpointSpec.batch_norm

    def __init__(self, options: Any) -> None:
        """`options` is an instance of the method's own Options."""
        self.options = options

    def lr_of(self, optimizer: str) -> float:
        """Peak learning rate at `lr_batch`. Raises RequestError for an optimiser that the method has none for."""
        if optimizer not in self.lr:
            raise RequestError(
                f"optimizer {optimizer}: this method has no usual learning rate for it ({', '.join(self.lr)} have one);"
                " give lr"
            )
        return self.lr[optimizer]

    def note(self, patches: int) -> str:
        """What somebody who trains on so many patches should know before it starts; empty: nothing."""
        return ""

    def views(self, px: int) -> list[Recipe]:
        """How the views of each patch are drawn; `px` is the edge of what the network sees."""
        raise NotImplementedError

    def module(self, backbone: "nn.Module", sources: Sequence[SourceClasses]) -> "nn.Module":
        """Everything that is trained and kept; its `backbone` is the network given.

        Args:
            backbone: float (n, 3, h, w) to (n, `num_features`).
            sources: what patches are drawn from, in the order of `Batch.sources`.

        Raises RequestError when the method cannot work with the backbone or the sources.
        """
        raise NotImplementedError

    def exported(self, module: Any) -> "nn.Module":
        """The network that becomes the checkpoint."""
        return module.backbone

    def forward(self, module: Any, batch: "Batch", progress: TrainingProgress) -> "dict[str, Any]":
        """Run the networks on a rank's share of a batch. What it returns reaches `loss` with its tensors in float32.

        The values may be tensors, or lists of tensors.
        """
        raise NotImplementedError

    def loss(
        self, module: Any, outputs: "dict[str, Any]", batch: "Batch", progress: TrainingProgress
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        """A scalar to minimise, and scalars by name to show beside it."""
        raise NotImplementedError

    def before_step(self, module: Any, progress: TrainingProgress) -> None:
        """Called before a step's first forward pass: modes, frozen parts, norms of prototypes."""

    def after_backward(self, module: Any, progress: TrainingProgress) -> None:
        """Called between the gradients and the optimiser: what must not be trained yet loses its gradient here."""

    def after_step(self, module: Any, progress: TrainingProgress) -> None:
        """Called after the optimiser: averages over time, queues."""

    def lr_now(self, progress: TrainingProgress) -> float | None:
        """A learning rate in place of the schedule's at this step; None: the schedule's."""
        return None

    def groups(self, module: Any) -> list[Group]:
        """How parameters are grouped; those that have `requires_grad` off are in none."""
        return [Group([p for p in module.parameters() if p.requires_grad])]


def check_vit(method: str, backbone: "nn.Module") -> None:
    """Raises RequestError unless the backbone is one of timm's plain vision transformers."""
    from timm.models.vision_transformer import VisionTransformer

    if not isinstance(backbone, VisionTransformer):
        raise RequestError(
            f"backbone: method {method} masks the tokens of a vision transformer, which this backbone is not; "
            "choose one such as vit_small_patch16_224"
        )
