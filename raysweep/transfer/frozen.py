"""A protocol that never trains through the backbone: fits on stored features, its setting chosen on a fixed path."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from raysweep.transfer.job import Protocol

if TYPE_CHECKING:
    import numpy as np

    Scorer = Callable[[np.ndarray], np.ndarray]  # features float32 (m, d) -> scores float32 (values, m, classes)


class FrozenProtocol(Protocol):
    """Base of the frozen protocols. One more is one file: its typed setting, its path in `search_spaces/`, its `fitted`
    and `scorer`, and a `start` that makes a `FrozenRun`.

    There are no trials and no val: the whole draw is cross-validated along the path (see `FrozenRun`), then fitted
    once more with the setting that was chosen. A protocol has one setting; its path is a list of values of it.
    """

    kinds = frozenset({"classification"})
    frozen = True
    adaptation = "frozen"
    budget = frozenset()  # of `transfer:` only the draws matter
    why_not = "it fits one label per image; use finetune for segmentation tasks"
    path_format: ClassVar[int] = 1  # part of a repeat's fingerprint: raise it when a path would give other results

    setting: ClassVar[str]  # what the path is made of
    falls: ClassVar[bool]  # whether its values fall from the strongest regularisation to the weakest
    limit: ClassVar[float | None] = None  # a value that nothing lies beyond: best there, it says nothing about the path
    probabilities: ClassVar[bool]  # whether scores are fitted as such: then equal metrics go to the lower log-loss

    def fit(
        self, features: "np.ndarray", labels: "np.ndarray", *, n_classes: int, values: Sequence[float], seed: int
    ) -> "Scorer":
        """`fitted`, as what scores."""
        return self.scorer(self.fitted(features, labels, n_classes=n_classes, values=values, seed=seed))

    @abstractmethod
    def fitted(
        self, features: "np.ndarray", labels: "np.ndarray", *, n_classes: int, values: Sequence[float], seed: int
    ) -> "dict[str, np.ndarray]":
        """Fit once for every value.

        Args:
            features: float32 (n, d), finite.
            labels: int (n,), at least two of `n_classes` classes.
            values: along the path: the strongest regularisation first.
            seed: of all randomness.

        Returns all that `scorer` needs, as arrays by name.
        """

    @abstractmethod
    def scorer(self, fitted: "Mapping[str, np.ndarray]") -> "Scorer":
        """What scores features (m, d) under every value that was fitted.

        It gives float32 (values, m, n_classes), not negative, one over the classes of a row; 0 for a class without a
        label. The highest one is what is predicted.
        """
