"""Everything a study consists of, as folders with fingerprints: what exists is skipped, what is missing is made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raysweep.errors import RequestError
from raysweep.storage import MANIFEST, Artefact, Storage, shipped
from raysweep.study.load import StudyFile, explain
from raysweep.study.model import Study
from raysweep.study.resolve import CheckpointPlan, PatchSetPlan, resolve_checkpoints, resolve_patch_sets
from raysweep.sweep.cell import Cell, cell_inputs
from raysweep.sweep.space import load_space
from raysweep.tasks.card import Card
from raysweep.tasks.cards import load_card
from raysweep.tasks.fractions import draw_fraction
from raysweep.tasks.prepare import licence_accepted
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task, index_task
from raysweep.transfer.features import features_inputs
from raysweep.transfer.protocol import check_protocol, get_protocol


@dataclass(frozen=True)
class TaskPlan:
    """A task with its samples, and the folder that its index is kept in for workers to read."""

    task: Task
    artefact: Artefact


@dataclass(frozen=True)
class FeaturesPlan:
    """Embeddings of one task's images by one checkpoint."""

    checkpoint: Artefact
    task: Artefact
    artefact: Artefact


@dataclass(frozen=True)
class Graph:
    """A study's artefacts, in the order of making: patch sets, checkpoints, tasks, features, cells."""

    file: StudyFile
    home: Storage  # the study's own folder
    patch_sets: dict[str, PatchSetPlan]
    checkpoints: dict[str, CheckpointPlan]
    tasks: dict[str, TaskPlan]
    features: list[FeaturesPlan]
    cells: list[Cell]

    @property
    def study(self) -> Study:
        return self.file.study

    def artefacts(self) -> list[Artefact]:
        """All of them."""
        return [
            *(p.artefact for p in self.patch_sets.values()),
            *(a for c in self.checkpoints.values() for a in c.artefacts),
            *(t.artefact for t in self.tasks.values()),
            *(f.artefact for f in self.features),
            *(c.artefact for c in self.cells),
        ]


def build_graph(file: StudyFile, patch_sets: dict[str, PatchSetPlan] | None = None) -> Graph:
    """Check a whole study and lay out its artefacts. Reads slide tables, file ends and image headers; runs nothing.

    `patch_sets` are those of an earlier graph of the study, as its slide files were then. What is made from a patch
    set depends on which of its slides failed, so a graph is of its time: build another once slides have been tiled.
    Raises RequestError for whatever is wrong with the study, in one sentence that names the key.
    """
    study = file.study
    home = study_folder(study)
    _check_compare(study)
    cards = [_load_card(ref, file) for ref in study.tasks]
    patch_sets = resolve_patch_sets(file, home) if patch_sets is None else patch_sets
    checkpoints = resolve_checkpoints(study, home, patch_sets, file.folder)
    if study.compare.baseline and study.compare.baseline not in checkpoints:
        raise RequestError(
            f"compare.baseline: {study.compare.baseline} is not a checkpoint of this study; "
            f"they are {', '.join(checkpoints)}"
        )
    tasks = {card.name: _plan_task(card, study, home) for card in cards}
    features: dict[tuple[str, str], FeaturesPlan] = {}
    cells = [
        _plan_cell(checkpoint, name, tasks[name], protocol, fraction, file, home, features)
        for name, plan in tasks.items()
        for protocol in study.transfer.protocols_for(plan.task.card.kind)
        for fraction in study.transfer.fractions
        for checkpoint in checkpoints.values()
    ]
    return Graph(file, home, patch_sets, checkpoints, tasks, list(features.values()), cells)


def study_folder(study: Study) -> Storage:
    """Where a study keeps everything it makes."""
    return Storage.open(study.storage).at(study.name)


def card_folders(folder: Path) -> list[Path]:
    """Where a study's cards and search spaces are looked up before those that ship with raysweep."""
    return [folder, folder / "datasets", shipped("datasets")]


def _load_card(ref: str | dict[str, Any], file: StudyFile) -> Card:
    try:
        card = load_card(ref, card_folders(file.folder))
    except ValidationError as error:
        raise RequestError(f"tasks: {explain(error, Card)}") from error
    protocols = file.study.transfer.protocols_for(card.kind)
    if not protocols:
        raise RequestError(f"transfer.protocols: none is given for {card.kind}, the kind of task {card.name}")
    for protocol in protocols:
        check_protocol(protocol, card.kind)
    if card.licence.restricted and card.name not in file.study.accept_licences and not licence_accepted(card):
        raise RequestError(
            f"task {card.name}: its licence ({card.licence.name}) is not accepted yet; read it, then run "
            f"`raysweep datasets prepare {card.name} --data FOLDER --accept-licence`, or list {card.name} under "
            f"accept_licences"
        )
    return card


def _plan_task(card: Card, study: Study, home: Storage) -> TaskPlan:
    if not study.data:
        raise RequestError(f"data is not set; task {card.name} needs the folder that {card.root}/ stands in")
    task = index_task(card, Path(study.data), known=_indexed(home.at("tasks", card.name)))
    transfer = study.transfer
    for fold in folds(task, study.seed):
        for fraction in transfer.fractions:
            for draw in range(max(transfer.finals, 1)):
                draw_fraction(task, fold, fraction=fraction, fraction_of=transfer.fraction_of, val=transfer.val,
                              draw=draw, seed=study.seed)  # fmt: skip
    return TaskPlan(task, Artefact(home.at("tasks", card.name), task.inputs()))


def _indexed(home: Storage) -> Task | None:
    """The task's last index: files that have not changed since need not be read again."""
    if not home.exists("current"):
        return None
    folder = home.at(home.read_bytes("current").decode().strip())
    return Task.load(folder) if folder.exists(MANIFEST) else None


def _plan_cell(
    checkpoint: CheckpointPlan,
    task: str,
    plan: TaskPlan,
    protocol: str,
    fraction: float,
    file: StudyFile,
    home: Storage,
    features: dict[tuple[str, str], FeaturesPlan],
) -> Cell:
    study, kind = file.study, plan.task.card.kind
    embedded: list[Storage] = []
    if get_protocol(protocol).frozen:
        for artefact in checkpoint.artefacts:
            key = (artefact.fingerprint, plan.artefact.fingerprint)
            folder = Artefact(home.at("features", checkpoint.name, task), features_inputs(*key))
            embedded.append(features.setdefault(key, FeaturesPlan(artefact, plan.artefact, folder)).artefact.folder)
    space = load_space(protocol, kind, study.transfer.spaces, _space_folders(file.folder))
    inputs = cell_inputs(
        study.transfer,
        checkpoints=[a.fingerprint for a in checkpoint.artefacts],
        task=plan.artefact.fingerprint,
        protocol=protocol,
        kind=kind,
        fraction=fraction,
        space=space,
        seed=study.seed,
    )
    return Cell(
        checkpoint=checkpoint.name,
        checkpoints=[a.folder for a in checkpoint.artefacts],
        task=task,
        task_folder=plan.artefact.folder,
        protocol=protocol,
        kind=kind,
        fraction=fraction,
        artefact=Artefact(home.at("cells", checkpoint.name, task, protocol, f"{fraction:g}"), inputs),
        features=embedded,
    )


def _space_folders(folder: Path) -> list[Path]:
    return [folder, folder / "search_spaces", shipped("search_spaces")]


def _check_compare(study: Study) -> None:
    asked = {p for kind in ("classification", "segmentation") for p in study.transfer.protocols_for(kind)}
    if study.compare.primary.protocol not in asked:
        raise RequestError(
            f"compare.primary.protocol: {study.compare.primary.protocol} is not among transfer.protocols "
            f"({', '.join(sorted(asked))})"
        )
