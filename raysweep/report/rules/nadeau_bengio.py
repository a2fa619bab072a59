"""nadeau-bengio: the corrected resampled t test over repeats (Nadeau and Bengio, Machine Learning 52, 2003, sec. 5),
Holm's method over a family.

The variance of the mean of S repeats is taken as (1 / S + n2 / n1) times the variance between them, with S - 1 degrees
of freedom: repeats that share test or training units are correlated, and rho = n2 / (n1 + n2) stands for how much. n1
and n2 are the labelled units of a repeat's draw and its test units (images where the unit is the image). The test was
made for splits that are drawn anew; here every repeat is tested on the same units, so that what differs between units
is in none of it but rho. An interval (at alpha over the comparisons) is given where it says what Holm's p value says.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from raysweep.report.family import Verdict, judge
from raysweep.report.intervals import Contrast, Difference, tested
from raysweep.report.rules import Rule, register


def corrected_se(values: np.ndarray, train: float, test: float) -> float:
    """Standard error of the mean of values (S,) of repeats with `train` labelled and `test` tested units."""
    return float(np.sqrt((1 / len(values) + test / train) * values.var(ddof=1)))


def _test(contrast: Contrast, *, lack: str, alpha: float, margin: float) -> Difference:
    d = tested(contrast, lack=lack, alpha=alpha, margin=margin)
    if d.found is None:
        return d
    if contrast.train_units <= 0:
        reason = "the number of labelled units is not known"
    elif np.ptp(contrast.values) == 0:
        reason = "the difference is the same in every repeat: its spread cannot be judged"
    else:
        se = corrected_se(contrast.values, contrast.train_units, len(contrast.over[0]))
        found = replace(d.found, se=se, df=float(len(contrast.values) - 1))
        half, narrow = found.half(alpha), found.half(2 * alpha)
        return replace(
            d, low=d.value - half, high=d.value + half, p=found.p(), p_equal=found.p_equal(margin),
            p_above=found.p_above(margin), equal_low=d.value - narrow, equal_high=d.value + narrow, found=found,
        )  # fmt: skip
    return Difference(
        d.value, d.n_units, d.n_repeats, reason=reason, lacks=True, one_checkpoint=d.one_checkpoint, two_sd=d.two_sd,
        contrast=contrast,
    )  # fmt: skip


def _judge(
    differences: Sequence[Difference | None],
    curves: Sequence[Hashable | None] | None = None,
    *,
    alpha: float,
    margin: float,
    correction: str = "max-t",
) -> list[Verdict]:
    return judge(differences, curves, alpha=alpha, margin=margin, correction="holm")


def _method(judged: Sequence[Difference]) -> str:
    parts = [(len(d.contrast.over[0]), d.contrast.train_units) for d in judged if d.contrast and d.found]
    rhos = sorted({round(test / (test + train), 2) for test, train in parts if train > 0})
    said = "" if not rhos else f", here {rhos[0]:g}" + (f" to {rhos[-1]:g}" if len(rhos) > 1 else "")
    return (
        "Differences are judged by the corrected resampled t test over repeats (Nadeau and Bengio 2003): their "
        "variance times 1 / S + n2 / n1, with S repeats, n1 labelled and n2 tested units, which is a correlation of "
        f"rho = n2 / (n1 + n2){said}, and S − 1 degrees of freedom. p values are corrected by Holm's method (1979); an "
        "interval (Bonferroni's) is left out where it would say something else."
    )


register(Rule("nadeau-bengio", "the corrected resampled t test over repeats", _test, _judge, _method))
