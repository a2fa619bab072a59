"""What the weights of a checkpoint have seen, along the whole chain that they come from."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from raysweep.backbones.checkpoint import FILE, read_info
from raysweep.backbones.init import card_of
from raysweep.patches.outcomes import read_outcomes
from raysweep.pretrain.methods import find_method
from raysweep.pretrain.source import SEEN, SourceInput, read_sources, seen_rows
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.slides.table.columns import deal_splits
from raysweep.storage import Storage
from raysweep.study.checkpoints import CheckpointPlan, Pretraining
from raysweep.study.load import StudyFile
from raysweep.study.matching import Shown
from raysweep.study.patch_sets import PatchSetPlan
from raysweep.study.sources import SourcePlan
from raysweep.study.tasks import card_folders
from raysweep.tasks.card import Card
from raysweep.tasks.cards import card_names, load_card
from raysweep.tasks.source import train_rows

_PHOTOGRAPHS = "imagenet"  # ImageNet and its parts: no tissue is in them
_IN_TAG = re.compile(r"(^|_)in(1k|12k|21k|22k)(_|$)")
# Words of timm's tags for weights that saw the web as well; what is in it, nobody lists.
_WEB = re.compile(r"laion|openai|clip|dfn|jft|ig1b|swag|seer|yfcc|lvd|webli|datacomp|merged|m3[08]m|cc12m|seagull")
_IDENTITIES = ("timm:", "hf-hub:", "file:")  # names of weights among the sources of a checkpoint, not of data


@dataclass(frozen=True)
class Exposure:
    """All that weights have seen.

    shown: sources whose rows are known, each with whether its labels taught. declared: names of data that are known by
    name alone. unknown: why that is not all; empty where it is.
    """

    shown: tuple[tuple[Shown, bool], ...] = ()
    declared: frozenset[str] = frozenset()
    unknown: str = ""


class Exposures:
    """What each pretraining of a study's checkpoints has seen or will see.

    `recorded`: of checkpoints that are there, what the list beside the weights says; else what the study's patch sets
    and labelled sets will show to them, slides that failed included.
    """

    def __init__(
        self,
        file: StudyFile,
        checkpoints: Mapping[str, CheckpointPlan],
        patch_sets: Mapping[str, PatchSetPlan],
        sources: Mapping[str, SourcePlan],
        *,
        recorded: bool,
    ) -> None:
        self._file, self._recorded = file, recorded
        self._checkpoints, self._patch_sets, self._sources = checkpoints, patch_sets, sources
        self._known: dict[Any, Any] = {}

    def of(self, plan: CheckpointPlan, made: Pretraining) -> Exposure:
        """What one pretraining of a checkpoint has seen. Raises RequestError as `read_info`."""
        key = made.artefact.folder.root
        if key not in self._known:
            self._known[key] = self._find(plan, made)
        return self._known[key]

    def _find(self, plan: CheckpointPlan, made: Pretraining) -> Exposure:
        before = self._start(plan, made)
        if plan.spec.method is None:
            return before
        labels = find_method(plan.spec.method).needs_labels
        folder = made.artefact.folder
        if self._recorded and made.artefact.done() and folder.exists(SEEN):
            return replace(before, shown=self._of_rows(read_sources(folder), labels))
        own = tuple((self._of_source(source), labels) for source in plan.sources_of(made))
        return replace(before, shown=(*before.shown, *own))

    def _start(self, plan: CheckpointPlan, made: Pretraining) -> Exposure:
        """What the weights have seen that a pretraining starts from."""
        seen = frozenset(plan.spec.seen)
        if plan.parent is not None and made.init is not None:
            parent = self._checkpoints[plan.parent]
            own = next(p for p in parent.pretrainings if p.artefact.folder.root == made.init.root)
            before = self.of(parent, own)
            return replace(before, declared=before.declared | seen)
        if made.init is not None:
            return self._elsewhere(made.init, seen)
        return _published(plan.spec)

    def _elsewhere(self, folder: Storage, seen: frozenset[str]) -> Exposure:
        """What a checkpoint that was made elsewhere says of itself."""
        if not folder.exists(FILE):
            return Exposure(declared=seen, unknown="the checkpoint that it starts from says nothing of itself")
        info = read_info(folder)
        steps = [*info.parents, info.model_dump()]
        methods = [str(step["method"]) for step in steps if step.get("method")]
        rows = read_sources(folder) if folder.exists(SEEN) else None
        shown = () if rows is None else self._of_rows(rows, any(find_method(m).needs_labels for m in methods))
        listed = {name for source, _ in shown for name in (source.source, *source.ids, *source.units)}
        named = {name for name in info.sources if not name.startswith(_IDENTITIES)} - listed
        if methods and rows is None:
            return Exposure(declared=seen | named, unknown=f"there is no {SEEN} beside the weights that it starts from")
        first = _of_identity(str(steps[0].get("init") or info.init), frozenset(named) | seen)
        return replace(first, shown=shown)

    def _of_source(self, source: SourceInput) -> Shown:
        key = (source.name, source.fold, source.folder.root)
        if key not in self._known:
            if source.name in self._patch_sets:
                self._known[key] = self._of_patch_set(self._patch_sets[source.name])
            elif source.name in self._sources:
                self._known[key] = self._of_labelled_set(self._sources[source.name], source.fold)
            else:
                ((shown, _),) = self._of_rows(seen_rows(source, False, self._file.study.seed), False) or [
                    (Shown(source.name), False)
                ]
                self._known[key] = shown
        return self._known[key]

    def _of_patch_set(self, plan: PatchSetPlan) -> Shown:
        spec = plan.spec
        copies = plan.artefact.inputs.get("copies", ())
        splits = deal_splits(plan.slides, spec.split, self._file.study.seed, spec.split_by, spec.split_within, copies)
        ends = read_outcomes(plan.artefact.folder) if plan.artefact.done() else []
        skipped = {slide.slide for slide in ends if slide.status == "skipped"}
        slides = [s for s in plan.slides if splits[s.name] == "train" and s.name not in skipped]
        files = {slide["name"]: slide["identity"] for slide in plan.artefact.inputs["slides"] if "identity" in slide}
        hashes = [f"{files[s.name]['size']}-{files[s.name]['hash']}" for s in slides if s.name in files]
        return Shown(
            plan.name, frozenset(s.name for s in slides), frozenset(s.patient for s in slides if s.patient),
            frozenset(hashes), all(s.patient for s in slides), collections=tuple(spec.collection),
        )  # fmt: skip

    def _of_labelled_set(self, plan: SourcePlan, fold: int | None) -> Shown:
        card, allowed = plan.task.card, train_rows(plan.task, fold, self._file.study.seed)
        pairs = [(sample, identity) for sample, identity in plan.task.image_identities() if sample.id in allowed]
        return Shown(
            plan.name, frozenset(allowed), frozenset(sample.unit for sample, _ in pairs),
            frozenset(identity for _, identity in pairs if identity), card.unit == "patient", True,
            tuple(card.collection),
        )  # fmt: skip

    def _of_rows(self, rows: pa.Table, labelled: bool) -> tuple[tuple[Shown, bool], ...]:
        """The sources that a list tells of; `labelled` where it does not say whether labels taught."""
        groups: dict[tuple[str, bool], list[dict[str, Any]]] = {}
        for row in rows.to_pylist():
            labels = labelled if row["labels"] is None else row["labels"]
            groups.setdefault((row["source"], labels), []).append(row)
        return tuple((self._listed(source, own), labels) for (source, labels), own in groups.items())

    def _listed(self, source: str, rows: list[dict[str, Any]]) -> Shown:
        card = None if source in self._patch_sets else self._card(source)
        if card is not None:
            collections, complete = card.collection, card.unit == "patient"
        else:
            plan = self._patch_sets.get(source)
            collections, complete = plan.spec.collection if plan else [], all(row["unit"] for row in rows)
        return Shown(
            source, frozenset(row["id"] for row in rows), _some(row["unit"] for row in rows),
            _some(row["hash"] for row in rows), complete, card is not None, tuple(collections),
        )  # fmt: skip

    def _card(self, name: str) -> Card | None:
        """The card of a labelled set that a list names; None for a patch set of another study."""
        if name in self._sources:
            return self._sources[name].task.card
        folders = card_folders(*self._file.folders)
        return load_card(name, folders) if name in card_names(folders) else None


def _some(values: Iterable[str | None]) -> frozenset[str]:
    return frozenset(value for value in values if value)


def _published(spec: CheckpointSpec) -> Exposure:
    """What weights have seen that are no checkpoint of a study."""
    seen = frozenset(spec.seen)
    if spec.init == "timm":
        return _of_identity(f"timm:{spec.backbone}", seen)
    card = card_of(spec.init, spec)
    if card is not None:
        return Exposure(declared=seen | frozenset(card.sources))
    return _of_identity(spec.init if spec.init == "random" else f"file:{spec.init.rpartition('/')[2]}", seen)


def _of_identity(init: str, declared: frozenset[str]) -> Exposure:
    """What is known of weights by the name of where they are from, and by what is declared of them."""
    tag = init.rpartition(".")[2]
    if init.startswith("timm:") and _IN_TAG.search(tag) and not _WEB.search(tag):
        return Exposure(declared=declared | {_PHOTOGRAPHS})
    if init == "random" or declared:
        return Exposure(declared=declared)
    return Exposure(unknown=f"{init.partition(':')[2] or init} does not say what it has seen; name it under `seen`")
