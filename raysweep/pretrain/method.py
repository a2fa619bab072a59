"""What a pretraining method is. Light: torch is imported where the parts of a model are made."""

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from raysweep.model import Model
from raysweep.patches.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn


class Learner(Protocol):
    """What a method is given to train: a backbone, float (n, 3, h, w) to (n, width), and the head that it made."""

    backbone: "nn.Module"
    head: "nn.Module"


class Method:
    """A pretraining objective: its options, views, heads, loss and default optimiser.

    The loop trains `learner.backbone` and `learner.head` together. What else a method needs to keep from step to
    step (a second network, a queue) are modules and buffers of its head, so that they are saved with it.
    """

    Options: ClassVar[type[Model]]
    needs_labels: ClassVar[bool] = False
    takes_pool: ClassVar[bool] = False  # several sources at once, labelled sets among them
    optimizer: ClassVar[str] = "adamw"
    lr: ClassVar[dict[str, float]]  # peak learning rate at a batch of 256, by optimiser
    weight_decay: ClassVar[float]

    def __init__(self, options: Any) -> None:
        """`options` is an instance of the method's own Options."""
        self.options = options

    def views(self, px: int) -> list[Recipe]:
        """How the views of each patch are drawn; `px` is the edge of what the network sees."""
        raise NotImplementedError

    def head(self, width: int, classes: int) -> "nn.Module":
        """Everything beyond the backbone; `width` is the number of features, `classes` that of the patch set."""
        raise NotImplementedError

    def loss(self, learner: "Learner", views: "list[Tensor]", labels: "Tensor") -> "tuple[Tensor, dict[str, Tensor]]":
        """The loss of one rank's share of a batch, and figures to show beside it.

        Args:
            learner: has `backbone` (float (n, 3, h, w) to (n, width)) and `head`.
            views: one float (n, 3, px, px) for each recipe.
            labels: int64 (n,); -1 where a patch has none.

        Returns:
            A scalar, and scalars by name. The mean over ranks must be that of the whole batch, in value and gradient.
        """
        raise NotImplementedError
