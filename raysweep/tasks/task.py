"""A task: the samples of a dataset card, as found in its folder."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from raysweep.errors import RequestError, WorkError
from raysweep.secrets import redacted
from raysweep.storage import Storage, fingerprint
from raysweep.tasks.card import OBJECT_METRICS, Card
from raysweep.tasks.columns import Columns
from raysweep.tasks.examine import Examined, Unusable, examine, unchanged
from raysweep.tasks.find import find_root, find_samples
from raysweep.tasks.layouts import layout_of
from raysweep.tasks.masks import MaskOptions
from raysweep.tasks.reader import Reader
from raysweep.tasks.sample import Sample
from raysweep.tasks.split_table import with_splits

__all__ = ["Sample", "Task", "index_task"]

FORMAT = 3  # part of the fingerprint: raise it when samples are read or divided in another way

_CARD_KEYS = {"name", "kind", "classes", "unit", "mpp", "at_mpp", "px"}
_MANY, _MOST_BROKEN = 100, 0.01  # images from which on, and the part of them above which, broken ones are refused
_RUN = 16  # samples that a thread looks at in one go
_INDEX = "index.parquet"
_TASK = "task.json"
_SEEN = ("identity", "stamp", "look")  # columns of the index that `Examined` has; `present` is the sample's as well
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("mask", pa.string()),
        ("label", pa.int32()),
        ("unit", pa.string()),
        ("split", pa.string()),
        ("present", pa.list_(pa.int32())),
        ("sides", pa.list_(pa.string())),
        ("identity", pa.string()),
        ("stamp", pa.string()),
        ("look", pa.uint64()),
    ]
)


@dataclass
class Task:
    """Samples in a fixed order, and what was left out: `excluded` holds (id, reason) pairs.

    `examined` says what the files of each sample hold, in the order of `samples`; it may be empty in a task that
    was made by hand. `format` is that of the program that read them.
    """

    card: Card
    root: Path
    samples: list[Sample]
    excluded: list[tuple[str, str]] = field(default_factory=list)
    examined: list[Examined] = field(default_factory=list)
    format: int = FORMAT

    @cached_property
    def masks(self) -> MaskOptions:
        """What the numbers in mask files mean."""
        return getattr(layout_of(self.card)[1], "masks", None) or MaskOptions()

    @cached_property
    def columns(self) -> Columns:
        """Units and classes of the samples as arrays, once there are all of them."""
        return Columns(self.samples, len(self.card.classes))

    @cached_property
    def reader(self) -> Reader:
        """What reads the images and masks of the samples."""
        layout, options = layout_of(self.card)
        return layout.reader(options, self.root)

    def inputs(self) -> dict[str, Any]:
        """What the fingerprint of everything made from this task covers. Its size does not grow with the samples."""
        rows = [[s.id, s.unit, s.label, s.split, seen.identity, *s.sides] for s, seen in self._pairs()]
        counted = sorted(set(self.card.metrics) & set(OBJECT_METRICS))  # these need predictions to be counted anew
        inputs = {
            "format": FORMAT,
            "card": self.card.model_dump(mode="json", include=_CARD_KEYS),
            "splits": self.card.splits.inputs(),
            "metric": self.card.metric,  # what searches aim at; most further ones change nothing that is made
            "masks": self.masks.inputs(),
            **({"reads": reads} if (reads := self.reader.inputs()) else {}),
            "n_samples": len(rows),
            "samples": fingerprint(rows),
        }
        return inputs | {"objects": [counted, self.card.objects.model_dump(mode="json")]} if counted else inputs

    def image_identities(self) -> Iterator[tuple[Sample, str]]:
        """Each sample and what names the bytes of its image, without its mask; empty where they were not read."""
        for sample, seen in self._pairs():
            yield sample, seen.identity.partition("+")[0]

    def save(self, folder: Storage) -> None:
        """Write the index, so that `load` needs to list and open nothing. It does not say where the files are."""
        pairs = list(self._pairs())
        columns = {name: [getattr(s, name) for s, _ in pairs] for name in _SCHEMA.names if name not in _SEEN}
        columns |= {name: [getattr(seen, name) for _, seen in pairs] for name in _SEEN}
        folder.write_table(pa.table(columns, schema=_SCHEMA), _INDEX)
        options = layout_of(self.card)[1]  # in them, what a YAML file has as a number is a name where one is meant
        layout = {"type": self.card.layout["type"], **options.model_dump(mode="json", exclude_unset=True)}
        card = self.card.model_copy(update={"layout": layout})
        kept = {"card": redacted(card.model_dump(mode="json")), "excluded": self.excluded, "format": self.format}
        folder.write_json(kept, _TASK)

    @classmethod
    def load(cls, folder: Storage, data: Path | str | None) -> "Task":
        """The task that `save` wrote; its own folder stands in `data`. None: no file of it is going to be read.

        Raises WorkError when there is none, and as `find_root`.
        """
        if not folder.exists(_TASK):
            raise WorkError(f"{folder.root}: there is no saved task here")
        saved = folder.read_json(_TASK)
        card = Card.model_validate(saved["card"])
        root = Path(".") if data is None else find_root(card, Path(data), folder)
        task = cls(card, root, [], format=saved.get("format", 0))
        task.excluded = [(name, reason) for name, reason in saved["excluded"]]
        table = folder.read_table(_INDEX)
        of = {name: table.column(name).to_pylist() for name in table.column_names}
        present, n = list(map(tuple, of.pop("present"))), table.num_rows  # by column: there may be 300,000 rows
        sides = list(map(tuple, of.pop("sides", ((),) * n)))
        looks = of.pop("look", [0] * n)
        task.examined = list(map(Examined, of.pop("identity"), of.pop("stamp"), present, looks))
        fields = (of[name] for name in ("id", "image", "mask", "label", "unit", "split"))
        task.samples = list(map(Sample, *fields, present, sides))
        return task

    def _pairs(self) -> Iterator[tuple[Sample, Examined]]:
        none = Examined("", "", ())
        return zip(self.samples, self.examined or [none] * len(self.samples), strict=True)


def index_task(
    card: Card, data: Path, *, check_images: bool = True, known: Task | None = None, home: Storage | None = None
) -> Task:
    """Find the card's samples below the folder `data`.

    Every image and mask is read once, in parallel, for its identity; with `check_images` it is also decoded to its
    last pixel. A missing, corrupt or mismatched file puts its sample into `excluded` with the reason, and the rest
    goes on; so does a mask with a value that the card does not know. `known` is an earlier index of the task: files
    that kept name, size and time are not read again. `home` is the folder STUDY/tasks/NAME that the index will be
    kept below, for a card of a patch set of the study.

    Raises RequestError for a missing folder, a wrong layout option, a count that is not the card's `n_images`, a class
    without any sample (or any to train on, for given splits), a unit in two given splits, samples of which none can be
    used, or, of 100 images or more, over 1 % that cannot be decoded: such a set was not copied whole.
    """
    root = find_root(card, Path(data), home and home.at("index"))
    if not root.is_dir():
        raise RequestError(
            f"card {card.name}: root: the folder {root} does not exist; put the data there or set the study's data"
        )
    found = with_splits(card, root, find_samples(card, root))
    task = Task(card, root, [])
    before = _before(task, known) if known and check_images else {}
    reader, masks = task.reader, task.masks

    def look(some: list[Sample]) -> list[Examined | Unusable]:
        return [examine(sample, reader, card, masks, decode=check_images) for sample in some]

    facts_of: dict[int, Examined | Unusable] = {}
    for at, sample in enumerate(found):
        earlier = before.get((sample.image, sample.mask))
        if earlier is not None and unchanged(sample, reader, earlier):
            facts_of[at] = earlier
    left = [at for at in range(len(found)) if at not in facts_of]
    with ThreadPoolExecutor(min(32, (os.cpu_count() or 1) + 4)) as pool:
        runs = [left[start : start + _RUN] for start in range(0, len(left), _RUN)]
        looked = pool.map(look, [[found[at] for at in run] for run in runs])
        facts_of.update((at, facts) for run, all_of in zip(runs, looked, strict=True)
                        for at, facts in zip(run, all_of, strict=True))  # fmt: skip
    seen = [facts_of[at] for at in range(len(found))]
    _refuse_many(card, root, found, seen)
    for sample, facts in zip(found, seen, strict=True):
        if isinstance(facts, Unusable):
            task.excluded.append((sample.id, facts.reason))
        else:
            same = facts.present == sample.present
            task.samples.append(sample if same else replace(sample, present=facts.present))
            task.examined.append(facts)
    _check_palettes(task)
    _check_classes(task, check_images)
    if card.splits.fixed:
        _check_given(task)
    return task


def _refuse_many(card: Card, root: Path, found: list[Sample], seen: list[Examined | Unusable]) -> None:
    """Raise RequestError where more images than can be left out are broken, or have not the size of the original."""
    unusable = [(s.id, facts) for s, facts in zip(found, seen, strict=True) if isinstance(facts, Unusable)]
    broken = [name for name, facts in unusable if facts.broken]
    if len(found) >= _MANY and len(broken) > _MOST_BROKEN * len(found):
        raise RequestError(
            f"card {card.name}: {len(broken)} of {len(found)} images below {root} cannot be decoded, more than "
            f"{_MOST_BROKEN:.0%}; copy them anew, or remove them: {', '.join(broken[:5])}{', ...' * (len(broken) > 5)}"
        )
    resized = [f"{name}: {facts.reason}" for name, facts in unusable if facts.resized]
    if len(resized) > _MOST_BROKEN * len(found):
        raise RequestError(
            f"card {card.name}: image_px: {len(resized)} of {len(found)} images below {root} have another size than "
            f"the original, as after a mirror saved them anew ({resized[0]}); get the original, or correct the card"
        )


def _before(task: Task, known: Task) -> dict[tuple[str, str | None], Examined]:
    """What an earlier index found by image and mask; nothing when it read files or masks otherwise."""
    if known.format != FORMAT:
        return {}
    same = all(
        of(known) == of(task)
        for of in (lambda t: t.card.classes, lambda t: t.card.image_px, lambda t: t.masks, lambda t: t.reader.inputs())
    )
    return {(s.image, s.mask): seen for s, seen in known._pairs()} if same else {}


def _check_classes(task: Task, known: bool) -> None:
    """Every class needs a sample: in train, when the split is given. Masks that were not read say nothing."""
    card, why = task.card, f"; {len(task.excluded)} were left out" if task.excluded else ""
    if not task.samples:
        first = f" (first: {task.excluded[0][0]}: {task.excluded[0][1]})" if task.excluded else ""
        raise RequestError(f"card {card.name}: no image below {task.root} can be used{first}")
    if card.kind == "segmentation" and not known:
        return
    everywhere = {c for s in task.samples for c in s.classes}
    trained = [{c for s, side in zip(task.samples, of, strict=True) if side == "train" for c in s.classes}
               for _, of in _sides(task)]  # fmt: skip
    for index, name in enumerate(card.classes):
        if index not in everywhere:
            raise RequestError(f"card {card.name}: classes: no image of class {name} below {task.root}{why}")
        if any(index not in of for of in trained):
            raise RequestError(f"card {card.name}: splits: train has no image of class {name}{why}")


def _check_palettes(task: Task) -> None:
    """Raise RequestError where palettes draw one number in two colours: tools number the colours of each file anew."""
    first: dict[int, tuple[str | None, tuple[int, ...]]] = {}
    for sample, seen in task._pairs():
        for number, colour in seen.colours:
            if number and task.masks.numbered:  # each object may have any colour
                continue
            other, was = first.setdefault(number, (sample.mask, colour))
            if was != colour:
                raise RequestError(
                    f"card {task.card.name}: layout.masks: the number {number} is drawn as {was} in {other} and as "
                    f"{colour} in {sample.mask}: each mask has a palette of its own, so numbers mean nothing; save all "
                    "with one palette, or as grey"
                )


def _sides(task: Task) -> list[tuple[str, list[str | None]]]:
    """For each division that the set itself names: how to speak of it, and the side of each sample."""
    splits = task.card.splits
    if splits.type == "repeated":
        names = enumerate(splits.divisions)
        return [(f"splits.type repeated: {name}", [s.sides[i] for s in task.samples]) for i, name in names]
    return [(f"splits.type {splits.type}", [s.split for s in task.samples])] if splits.fixed else []


def _check_given(task: Task) -> None:
    """A given split names every sample, trains and tests on something and keeps each unit on one side."""
    card = task.card
    for where, sides in _sides(task):
        of_unit = dict[str, str]()
        for sample, side in zip(task.samples, sides, strict=True):
            if side is None:
                raise RequestError(f"card {card.name}: {where}: {sample.id} has no split; name one in the layout")
            other = of_unit.setdefault(sample.unit, side)
            if other != side:
                raise RequestError(
                    f"card {card.name}: {where}: {card.unit} {sample.unit} is in {other or 'no split'} and in "
                    f"{side or 'no split'}; use holdout or folds, which keep units together"
                )
        for name in ("train", "test"):
            if name not in of_unit.values():
                raise RequestError(f"card {card.name}: {where}: nothing is in {name}")
