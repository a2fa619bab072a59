"""Batches of views, read from a patch set's row groups."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from raysweep.errors import RequestError
from raysweep.patches.codec import decode
from raysweep.patches.order import Order
from raysweep.patches.outcomes import read_outcomes
from raysweep.patches.read import PatchSet
from raysweep.patches.recipe import Recipe
from raysweep.patches.views import make_views


class TrainingRows:
    """The rows that pretraining may use: those of the training split, with a label where one is needed."""

    def __init__(self, patches: PatchSet, *, labelled: bool) -> None:
        """Raises RequestError when a label is needed and the patch set has none, or when no row may be used."""
        self._columns = ["split", "label"] if labelled else ["split"]
        if labelled and len(patches.classes) < 2:
            raise RequestError(
                f"patches {patches.folder.root}: supervised pretraining needs labels of at least two classes;"
                " give the slide table a label column"
            )
        done = [slide for slide in read_outcomes(patches.folder) if slide.status == "done"]
        seen = [slide for slide in done if slide.split in (None, "train")]
        self.sources = sorted({slide.slide for slide in seen} | {slide.patient for slide in seen if slide.patient})
        # The slide table often settles it; else the columns of every row group are read once.
        self._all = all(slide.split == "train" for slide in done) and not labelled
        self.rows: list[int] = [
            group.rows if self._all else len(self.among(patches.read(group, self._columns)))
            for group in patches.row_groups
        ]
        if not any(self.rows):
            raise RequestError(f"patches {patches.folder.root}: no patch of its training split can be used")

    @property
    def columns(self) -> list[str]:
        """What must be read of a row group to tell its usable rows."""
        return [] if self._all else self._columns

    def among(self, table: pa.Table) -> np.ndarray:
        """Numbers of the usable rows of a row group, int64."""
        if self._all:
            return np.arange(table.num_rows)
        split = table["split"].cast(pa.string())
        usable = pc.or_kleene(pc.is_null(split), pc.equal(split, "train"))
        if "label" in self._columns:
            usable = pc.and_(usable, pc.is_valid(table["label"]))
        return np.flatnonzero(usable.to_numpy())


@dataclass(frozen=True)
class Batch:
    """One rank's share of a step: for each view float32 (n, 3, px, px); labels int64 (n,), -1 for none."""

    views: list[Tensor]
    labels: Tensor

    def to(self, device: torch.device) -> "Batch":
        """On a device, channels last in memory."""
        last = torch.channels_last
        views = [view.to(device, non_blocking=True, memory_format=last) for view in self.views]
        return Batch(views, self.labels.to(device, non_blocking=True))


@dataclass(frozen=True)
class _Group:
    images: list[bytes]
    keys: list[int]
    labels: np.ndarray


class Batches:
    """Places `start` to `stop` of each step's batch, prepared in threads while the step before is computed."""

    def __init__(
        self,
        patches: PatchSet,
        rows: TrainingRows,
        order: Order,
        recipes: Sequence[Recipe],
        *,
        share: tuple[int, int],
        seed: int,
        mean: Sequence[float],
        std: Sequence[float],
        threads: int = 1,
        pin: bool = False,
    ) -> None:
        self._patches, self._rows, self._order, self._recipes = patches, rows, order, recipes
        self._share, self._threads, self._pin = share, threads, pin
        self._how: dict[str, Any] = {"seed": seed, "mean": mean, "std": std}
        self._groups: OrderedDict[int, _Group] = OrderedDict()
        self._capacity = order.groups_at_once(*share)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(self._threads) as painters:
            pending = reader.submit(self._batch, epoch, 0, painters)
            for step in range(self._order.steps):
                batch = pending.result()
                if step + 1 < self._order.steps:
                    pending = reader.submit(self._batch, epoch, step + 1, painters)
                yield batch

    def _batch(self, epoch: int, step: int, painters: ThreadPoolExecutor) -> Batch:
        places = self._order.places(epoch, step, *self._share)
        groups = {int(number): self._group(int(number)) for number in np.unique(places[:, 0])}
        rows = [(groups[number], row) for number, row in places.tolist()]
        parts = [part for part in (rows[t :: self._threads] for t in range(self._threads)) if part]
        painted = list(painters.map(lambda part: self._paint(part, epoch), parts))
        views = []
        for view, recipe in enumerate(self._recipes):
            whole = torch.empty(len(rows), 3, recipe.px, recipe.px, pin_memory=self._pin)
            for t, part in enumerate(painted):
                whole[t :: self._threads] = part[view]
            views.append(whole)
        return Batch(views, torch.tensor([int(group.labels[row]) for group, row in rows]))

    def _paint(self, part: list[tuple[_Group, int]], epoch: int) -> list[Tensor]:
        images = [decode(group.images[row]) for group, row in part]
        keys = [group.keys[row] for group, row in part]
        return [
            make_views(images, keys, recipe, epoch=epoch, view=view, **self._how)
            for view, recipe in enumerate(self._recipes)
        ]

    def _group(self, number: int) -> _Group:
        if number not in self._groups:
            columns = dict.fromkeys(["image.bytes", "key", "label", *self._rows.columns])
            table = self._patches.read(self._patches.row_groups[number], list(columns))
            table = table.take(self._rows.among(table)).combine_chunks()
            images = pc.struct_field(table["image"], "bytes").to_pylist()
            labels = table["label"].fill_null(-1).to_numpy()
            self._groups[number] = _Group(images, table["key"].to_pylist(), labels)
            while len(self._groups) > self._capacity:
                self._groups.popitem(last=False)
        self._groups.move_to_end(number)
        return self._groups[number]
