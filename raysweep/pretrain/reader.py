"""From places in row groups to pictures: reads, decodes and crops. Used in a worker's threads and by Ray Data."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor

from raysweep.errors import WorkError
from raysweep.patches.codec import decode
from raysweep.patches.recipe import Recipe
from raysweep.patches.views import crop_views
from raysweep.pretrain.rows import TrainingRows


@dataclass(frozen=True)
class Prepared:
    """Cropped patches of one rank's share of a step, not coloured yet.

    crops: for each recipe uint8 (n, 3, px, px). labels, sources: int64 (n,). keys: uint64 (n,). corrupt: names of
    patches that could not be decoded; a neighbour from their row group stands in for each.
    """

    crops: list[Tensor]
    labels: Tensor
    sources: Tensor
    keys: np.ndarray
    corrupt: list[str]


@dataclass(frozen=True)
class _Group:
    images: list[bytes]
    names: list[str]
    keys: np.ndarray
    labels: np.ndarray


class Reader:
    """Prepares any places, in any order; keeps the row groups that were used last."""

    def __init__(self, sources: Sequence[TrainingRows], recipes: Sequence[Recipe], *, seed: int, capacity: int) -> None:
        """`capacity` row groups are kept."""
        self._sources, self._recipes, self._seed, self._capacity = sources, recipes, seed, capacity
        self._groups: OrderedDict[tuple[int, int], _Group] = OrderedDict()

    def read(
        self, epoch: int, places: np.ndarray, spread: Callable[..., Iterable] = map, parts: int = 1, pin: bool = False
    ) -> Prepared:
        """The patches at `places`, int64 (n, 3) as `Mixture.places` gives them.

        `spread` maps a function over `parts` shares of them, as an executor's `map` does in threads.
        """
        groups = {
            (source, group): self._group(source, group) for source, group in np.unique(places[:, :2], axis=0).tolist()
        }
        rows = [(groups[source, group], row) for source, group, row in places.tolist()]
        n = len(rows)
        crops = [torch.empty(n, 3, recipe.px, recipe.px, dtype=torch.uint8, pin_memory=pin) for recipe in self._recipes]
        labels, keys = np.empty(n, np.int64), np.empty(n, np.uint64)
        corrupt: list[str] = []

        def fill(share: range) -> list[str]:
            """Its patches, one after another: a decoded picture lives until it is cropped."""
            found = []
            for at in share:
                group, row = rows[at]
                image, used, bad = _decoded(group, row)
                labels[at], keys[at] = group.labels[used], group.keys[used]
                for view, (recipe, whole) in enumerate(zip(self._recipes, crops, strict=True)):
                    crop_views([image], [int(keys[at])], recipe, seed=self._seed, epoch=epoch, view=view,
                               out=whole[at : at + 1])  # fmt: skip
                found += bad
            return found

        for bad in spread(fill, [range(part, n, parts) for part in range(min(parts, n))]):
            corrupt += bad
        sources = torch.from_numpy(places[:, 0].copy())
        return Prepared(crops, torch.from_numpy(labels), sources, keys, corrupt)

    def _group(self, source: int, number: int) -> _Group:
        key = (source, number)
        if key not in self._groups:
            rows = self._sources[source]
            columns = dict.fromkeys(["image", "key", "label", *rows.columns])
            table = rows.patches.read(rows.patches.row_groups[number], list(columns))
            usable = rows.among(table)
            table = (table if len(usable) == table.num_rows else table.take(usable)).combine_chunks()
            pictures = table["image"].combine_chunks()
            images, names = (pc.struct_field(pictures, name).to_pylist() for name in ("bytes", "path"))
            labels = table["label"].fill_null(-1).to_numpy()
            self._groups[key] = _Group(images, names, table["key"].to_numpy(), labels)
            while len(self._groups) > self._capacity:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]


def _decoded(group: _Group, row: int) -> tuple[np.ndarray, int, list[str]]:
    """A row's picture; of a corrupt one, the next in its row group that can be decoded, whoever asks for it."""
    corrupt: list[str] = []
    for step in range(len(group.images)):
        at = (row + step) % len(group.images)
        try:
            return decode(group.images[at]), at, corrupt
        except WorkError as error:
            corrupt.append(f"{group.names[at]}: {error}")
    raise WorkError(f"no patch of a row group can be decoded; the first: {corrupt[0]}")
