"""Which units of a task are in a source: by barcodes, by the bytes of files, and by names."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from raysweep.tasks.identity import plain_name, tcga_patients
from raysweep.tasks.task import Task

_TCGA = "tcga"


@dataclass(frozen=True)
class Shown:
    """What a source has shown to weights. Names and hashes as they stand in `sources.parquet`.

    ids: of slides or images. units: patients or slides, where known. hashes: of files. complete: every row has a unit.
    labelled_set: it is the set of a card, whose units are named by itself; else a patch set. collections: what it says
    that it is from.
    """

    source: str
    ids: frozenset[str] = frozenset()
    units: frozenset[str] = frozenset()
    hashes: frozenset[str] = frozenset()
    complete: bool = False
    labelled_set: bool = False
    collections: tuple[str, ...] = ()

    @cached_property
    def barcodes(self) -> set[str]:
        return tcga_patients(self.ids | self.units)

    @cached_property
    def names(self) -> set[str]:
        return {plain_name(name) for name in self.ids | self.units}

    @cached_property
    def all_collections(self) -> set[str]:
        return _collections(self.collections, self.barcodes)


class TaskUnits:
    """A task as what is tested: which of its units a source shows."""

    def __init__(self, task: Task) -> None:
        self.name, self.kind_of_unit = task.card.name, task.card.unit
        self._task = task

    @cached_property
    def units(self) -> frozenset[str]:
        return frozenset(sample.unit for sample in self._task.samples)

    @cached_property
    def all_collections(self) -> set[str]:
        """Those of the card, and TCGA where images or units bear its barcodes."""
        return _collections(self._task.card.collection, self._by_barcode)

    def knows_patients(self) -> bool:
        """Whether it is told whom every image is of, so that no shared patient means none."""
        of_tcga = {unit for units in self._by_barcode.values() for unit in units}
        return self.kind_of_unit == "patient" or of_tcga == self.units

    def units_in(self, shown: Shown) -> frozenset[str]:
        """Units of the task that a source shows.

        Equal TCGA patients and equal bytes of a file count wherever they are. Equal names are no proof: every set has a
        patient 1 and an image `train_1.png`. Of the task's own set its units count. Patients and slides of another
        labelled set count where both are of one collection; those of a patch set unless both name their collections,
        and those differ.
        """
        found = self.surely_in(shown)
        if not self.is_own(shown) and self.kind_of_unit != "image" and self._names_count(shown):
            found |= _all_of(self._by_name, shown.names)
        return found

    def surely_in(self, shown: Shown) -> frozenset[str]:
        """Those of `units_in` that more than an equal name speaks for."""
        if self.is_own(shown):
            return frozenset(self.units & shown.units)
        found = _all_of(self._by_hash, shown.hashes) if shown.hashes else set()
        found |= _all_of(self._by_barcode, shown.barcodes) if self._by_barcode else set()
        return frozenset(found)

    def is_own(self, shown: Shown) -> bool:
        """Whether the source is the task's own set."""
        return shown.labelled_set and shown.source == self.name

    def of_collection(self, shown: Shown) -> bool:
        """Whether a source is of the task's collection, and nobody can tell who is in both."""
        if self.is_own(shown) or not same_collection(shown.all_collections, self.all_collections):
            return False
        return not (shown.complete and self.knows_patients())

    def _names_count(self, shown: Shown) -> bool:
        same = same_collection(shown.all_collections, self.all_collections)
        return same or (not shown.labelled_set and not (shown.collections and self._task.card.collection))

    @cached_property
    def _by_hash(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for sample, identity in self._task.image_identities():
            if identity:
                found.setdefault(identity, set()).add(sample.unit)
        return found

    @cached_property
    def _by_barcode(self) -> dict[str, set[str]]:
        samples = self._task.samples
        if not tcga_patients(text for s in samples for text in (s.unit, s.id, s.image)):
            return {}
        pairs = ((s.unit, tcga_patients([s.unit, s.id, s.image])) for s in samples)
        return _inverse((unit, patient) for unit, patients in pairs for patient in patients)

    @cached_property
    def _by_name(self) -> dict[str, set[str]]:
        return _inverse((unit, plain_name(unit)) for unit in self.units)


def same_collection(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether collections are the same or one is a part of the other, as TCGA-BRCA is of TCGA."""
    part: Callable[[str, str], bool] = lambda a, b: a == b or a.startswith(f"{b}-")  # noqa: E731
    return any(part(a, b) or part(b, a) for a in one for b in other)


def _collections(said: Iterable[str], barcodes: Iterable[str]) -> set[str]:
    return {name.casefold() for name in said} | ({_TCGA} if any(True for _ in barcodes) else set())


def _all_of(units: dict[str, set[str]], keys: Iterable[str]) -> set[str]:
    return {unit for key in units.keys() & keys for unit in units[key]}


def _inverse(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for unit, key in pairs:
        found.setdefault(key, set()).add(unit)
    return found
