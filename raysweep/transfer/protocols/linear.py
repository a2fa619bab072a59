"""Linear probe: multinomial logistic regression on the frozen backbone's standardised features."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from raysweep.model import Model
from raysweep.transfer.frozen import FrozenProtocol
from raysweep.transfer.job import Job, Run
from raysweep.transfer.protocols import register

if TYPE_CHECKING:
    import numpy as np

    from raysweep.transfer.frozen import Scorer

_ITERATIONS = 1000  # of L-BFGS; a fit that would need more is taken as it is


class LinearSettings(Model):
    C: float = Field(gt=0, description="inverse strength of the L2 penalty")


@register
class Linear(FrozenProtocol):
    """scikit-learn's `LogisticRegression` (L-BFGS, L2); scores are its probabilities.

    Along the path each fit starts from the one before it. A fit with a single value starts from nothing.
    """

    name = "linear"
    setting = "C"
    falls = False
    probabilities = True

    def settings(self, kind: str) -> type[LinearSettings]:
        return LinearSettings

    def start(self, job: Job) -> Run:
        from raysweep.transfer.frozen_run import FrozenRun  # sklearn

        return FrozenRun(job, self)

    def fitted(
        self, features: "np.ndarray", labels: "np.ndarray", *, n_classes: int, values: Sequence[float], seed: int
    ) -> "dict[str, np.ndarray]":
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        from raysweep.transfer.linear_models import LinearModels

        model = LogisticRegression(max_iter=_ITERATIONS, warm_start=True)

        def fit_one(x: "np.ndarray", value: float) -> LogisticRegression:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                return model.set_params(C=value).fit(x, labels)

        return LinearModels.fit(features, labels, values, fit_one, n_classes=n_classes).arrays()

    def scorer(self, fitted: "Mapping[str, np.ndarray]") -> "Scorer":
        import numpy as np
        from scipy.special import softmax

        from raysweep.transfer.linear_models import LinearModels

        models = LinearModels.of(fitted)

        def scores(features: np.ndarray) -> np.ndarray:
            decisions = models.decisions(features)
            if decisions.shape[-1] == 1:  # two classes: the log-odds of the second
                decisions = np.concatenate([np.zeros_like(decisions), decisions], axis=-1)
            return models.spread(softmax(decisions, axis=-1))

        return scores
