"""Who comes first, by values on one task or by the average rank on several."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from raysweep.errors import WorkError


@dataclass(frozen=True)
class Ranked:
    """`ranks`: from 1, the best, on each task; equal values share the mean of their ranks. `chosen`: it is among the
    first by `mean_rank`."""

    ranks: Mapping[str, float]
    mean_rank: float
    chosen: bool


def rank_members(values: Mapping[str, Mapping[str, float | None]], keep: int) -> dict[str, Ranked]:
    """Rank members by their mean rank over tasks and choose the first `keep` of them.

    values: of each member on each task, the same tasks for all; larger is better, None: it has no value and comes
    after all that have one. The lowest average rank wins, as in Mormont et al. (2020, arXiv 2005.02561):
    values of different tasks are never averaged. Equal mean ranks go to the member that is named first.

    Raises WorkError when no member has a value on any task.
    """
    from scipy.stats import rankdata

    names, tasks = list(values), list(dict.fromkeys(task for own in values.values() for task in own))
    if all(own[task] is None for own in values.values() for task in tasks):
        raise WorkError(f"none of {', '.join(names)} has a value on val, so none can be chosen")
    ranks = {
        task: rankdata([-v if (v := values[name][task]) is not None else math.inf for name in names]) for task in tasks
    }
    mean = {name: fmean(float(ranks[task][i]) for task in tasks) for i, name in enumerate(names)}
    first = set(sorted(names, key=lambda name: (round(mean[name], 9), names.index(name)))[:keep])
    return {
        name: Ranked({task: float(ranks[task][i]) for task in tasks}, mean[name], name in first)
        for i, name in enumerate(names)
    }
