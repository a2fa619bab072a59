"""Batches prepared by Ray Data: on clusters, nodes without GPUs decode for those that train."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import ray.data
import torch

from raysweep.patches.mixture import Mixture
from raysweep.pretrain.loop import Job, open_rows, plan_steps
from raysweep.pretrain.reader import Prepared, Reader

_STEPS_A_BLOCK = 4  # what a task prepares at once
_AHEAD = 4  # batches on the way to a rank
_MOST_ACTORS = 8


class DataLoader:
    """Maps the planned steps in their order, so that its batches are those of the threads, to the bit."""

    def __init__(self, job: Job, share: tuple[int, int]) -> None:
        self._job, self._share = job, share

    @classmethod
    def of(cls, job: Job) -> Callable[[Reader, Mixture, tuple[int, int]], "DataLoader"]:
        """What the loop makes its loader with; the reader is made anew where batches are prepared."""
        return lambda reader, mixture, share: cls(job, share)

    def steps(self, start: int, stop: int) -> Iterator[Prepared]:
        if stop <= start:
            return
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        blocks = -(-(stop - start) // _STEPS_A_BLOCK)
        planned = ray.data.range(stop - start, override_num_blocks=blocks).map_batches(
            _Prepare,
            fn_constructor_args=(self._job, self._share, start),
            batch_size=1,
            concurrency=(1, min(_MOST_ACTORS, blocks)),
            num_cpus=1,
        )
        for made in planned.iter_batches(batch_size=1, prefetch_batches=_AHEAD, batch_format="numpy"):
            yield _unpacked(made)


class _Prepare:
    """An actor of Ray Data: opens the sources once, and prepares whichever steps it is given."""

    def __init__(self, job: Job, share: tuple[int, int], first: int) -> None:
        rows = open_rows(job)
        self._mixture = plan_steps(job, rows)
        recipes = job.settings.recipes(job.info.px or rows[0].patches.px)
        capacity = self._mixture.groups_to_keep(*share)
        self._reader = Reader(rows, recipes, seed=job.seed, capacity=capacity)
        self._share, self._first = share, first

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        epoch, step = divmod(self._first + int(batch["id"][0]), self._mixture.steps)
        made = self._reader.read(epoch, self._mixture.places(epoch, step, *self._share))
        views = {f"view{i}": crops.numpy()[None] for i, crops in enumerate(made.crops)}
        return {
            **views,
            "labels": made.labels.numpy()[None],
            "sources": made.sources.numpy()[None],
            "keys": made.keys[None],
            "corrupt": np.array(["\n".join(made.corrupt)]),
        }


def _unpacked(made: dict[str, np.ndarray]) -> Prepared:
    views = [torch.from_numpy(made[f"view{i}"][0].copy()) for i in range(sum(name.startswith("view") for name in made))]
    labels, sources = (torch.from_numpy(made[name][0].copy()) for name in ("labels", "sources"))
    corrupt = [name for name in str(made["corrupt"][0]).split("\n") if name]
    return Prepared(views, labels, sources, made["keys"][0].copy(), corrupt)
