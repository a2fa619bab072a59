"""Linear support vector machine on the frozen backbone's standardised features, as in Mormont et al. (2020)."""

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


class SvmSettings(Model):
    C: float = Field(gt=0, description="inverse strength of the L2 penalty")


@register
class Svm(FrozenProtocol):
    """LIBLINEAR's SVM through scikit-learn's `LinearSVC`: squared hinge loss, one class against the rest.

    An SVM has no probabilities, and prediction files hold one number for each class. Theirs are the decision values,
    divided by one constant of the fit (their root mean square over its training images), through the logistic
    function, and divided by their sum over the classes. So the highest score is the highest decision value, and of two
    classes the scores rank images as the decision values do; of more, a class's score is relative to the others'. They
    are fit to be ranked, not to be read as probabilities: log-loss means nothing here.
    """

    name = "svm"
    setting = "C"
    falls = False
    probabilities = False

    def settings(self, kind: str) -> type[SvmSettings]:
        return SvmSettings

    def start(self, job: Job) -> Run:
        from raysweep.transfer.frozen_run import FrozenRun  # sklearn

        return FrozenRun(job, self)

    def fitted(
        self, features: "np.ndarray", labels: "np.ndarray", *, n_classes: int, values: Sequence[float], seed: int
    ) -> "dict[str, np.ndarray]":
        import numpy as np
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC

        from raysweep.transfer.linear_models import LinearModels

        def fit_one(x: np.ndarray, value: float) -> LinearSVC:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                return LinearSVC(C=value, random_state=seed).fit(x, labels)

        models = LinearModels.fit(features, labels, values, fit_one, n_classes=n_classes)
        # without this, the decisions of a small C are all 0.5 as float32, and those of a large one 1
        size = np.sqrt(np.square(models.decisions(features)).mean(axis=(1, 2), keepdims=True))
        return models.arrays() | {"size": size}

    def scorer(self, fitted: "Mapping[str, np.ndarray]") -> "Scorer":
        import numpy as np
        from scipy.special import expit

        from raysweep.transfer.linear_models import LinearModels

        models, size = LinearModels.of(fitted), fitted["size"]

        def scores(features: np.ndarray) -> np.ndarray:
            decisions = models.decisions(features) / np.maximum(size, np.finfo(np.float64).tiny)
            if decisions.shape[-1] == 1:  # two classes: positive for the second
                decisions = np.concatenate([-decisions, decisions], axis=-1)
            one = expit(decisions)
            return models.spread(one / one.sum(-1, keepdims=True))

        return scores
