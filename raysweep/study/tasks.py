"""The tasks of a study: their cards, what was found of their files, and every draw of labels that it will make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raysweep.errors import RequestError
from raysweep.storage import Artefact, Storage, shipped
from raysweep.study.further import FurtherSet, check_apart
from raysweep.study.load import StudyFile, explain
from raysweep.study.model import Study, TaskEntry
from raysweep.tasks.card import OWN_SET, Card
from raysweep.tasks.cards import card_names, load_card
from raysweep.tasks.fractions import Draws
from raysweep.tasks.further import check_further, tested_like
from raysweep.tasks.indexes import indexed_task
from raysweep.tasks.prepare import licence_accepted
from raysweep.tasks.splits import folds
from raysweep.tasks.subgroups import save_subgroups
from raysweep.tasks.task import Task
from raysweep.transfer.counting import check_objects
from raysweep.transfer.protocol import check_protocol


@dataclass(frozen=True)
class TaskPlan:
    """A task with its samples, and the folder that its index is kept in for workers to read."""

    task: Task
    artefact: Artefact
    n_folds: int
    further: tuple[FurtherSet, ...] = ()  # its further test sets


@dataclass(frozen=True)
class TaskCards:
    """The card of a task, and those of its further test sets."""

    card: Card
    test_sets: tuple[Card, ...] = ()


def card_folders(*folders: Path) -> list[Path]:
    """Where cards are looked up: in these folders, in their `datasets`, then among those that ship with raysweep."""
    return [*(place for folder in folders for place in (folder, folder / "datasets")), shipped("datasets")]


def load_cards(file: StudyFile) -> list[TaskCards]:
    """The cards of a study's tasks and of their further test sets.

    Raises RequestError for a card that cannot be used, a protocol that does not fit it, a further test set that does
    not fit its task, or a licence that was not accepted.
    """
    entries = [_entry(ref) for ref in file.study.tasks]
    cards = [_load_card(entry.card, file) for entry in entries]
    known = {card.name: card for card in cards}
    return [
        TaskCards(card, tuple(_load_test_set(name, card, known, file) for name in entry.test_sets))
        for card, entry in zip(cards, entries, strict=True)
    ]


def plan_tasks(
    cards: Sequence[TaskCards], study: Study, home: Storage, own: Mapping[str, Artefact] | None = None
) -> dict[str, TaskPlan]:
    """Find the files of all tasks and further test sets, and try every draw of labels that the study will make.

    `own` are the study's patch sets that tasks are made from, complete.

    Raises RequestError for files that are not what their card says, for a fraction that leaves a class empty, and for a
    further test set that tests what its task trains on.
    """
    wanted = {card.name: card for task in cards for card in (*task.test_sets, task.card)}
    found = {name: find_task(card, study, home, own) for name, card in wanted.items()}
    return {
        task.card.name: _plan_task(*found[task.card.name], study, tuple(FurtherSet(*found[c.name]) for c in
                                                                        task.test_sets))
        for task in cards
    }  # fmt: skip


def _plan_task(task: Task, artefact: Artefact, study: Study, further: tuple[FurtherSet, ...]) -> TaskPlan:
    transfer, divisions = study.transfer, folds(task, study.seed)
    for fold in divisions:
        for repeat in range(transfer.repeats):
            draws = Draws(task, fold, fraction_of=transfer.fraction_of, draw=repeat, seed=study.seed)
            for fraction in transfer.fractions:
                draws.at(fraction, transfer.val)
    for other in further:
        check_apart(other, task, divisions)
    return TaskPlan(task, artefact, len(divisions), further)


def find_task(
    card: Card, study: Study, home: Storage, own: Mapping[str, Artefact] | None = None
) -> tuple[Task, Artefact]:
    """Find a labelled set's files; the artefact is where its index is kept. `own` as in `plan_tasks`.

    Raises RequestError for files that are not what the card says.
    """
    if own and card.own_set in own:
        made = own[card.own_set].folder.root.rsplit("/", 1)[-1]
        card = card.model_copy(update={"root": f"{OWN_SET}{card.own_set}/{made}"})
    elif card.own_set:
        raise RequestError(f"card {card.name}: root: {card.own_set} is not a patch set of this study's tasks")
    elif not study.data:
        raise RequestError(f"data is not set; task {card.name} needs the folder that {card.root}/ stands in")
    folder, data = home.at("tasks", card.name), Path(study.data or ".")
    task = indexed_task(card, data, folder)
    return task, Artefact(folder, task.inputs())


def save_index(task: Task, artefact: Artefact) -> None:
    """Keep what was found of the task's files, for the workers and for the next run, and its subgroups for reports."""
    save_subgroups(task, artefact.folder)
    if artefact.done():
        return
    task.save(artefact.folder)
    counts = {"samples": len(task.samples), "excluded": len(task.excluded)}
    artefact.commit(config=task.card, counts=counts, timings={})


def _entry(ref: str | dict[str, Any]) -> TaskEntry:
    """What stands under `tasks`: a card, or a mapping that names one under `card`, as no card itself does."""
    if not isinstance(ref, dict) or "card" not in ref:
        return TaskEntry(card=ref)
    try:
        return TaskEntry.model_validate(ref)
    except ValidationError as error:
        raise RequestError(f"tasks: {explain(error, TaskEntry)}") from error


def _load_test_set(name: str, card: Card, tasks: Mapping[str, Card], file: StudyFile) -> Card:
    """The card of a further test set of a task: that of a task of the study, else one that is looked up."""
    further = tasks[name] if name in tasks else load_card(name, card_folders(*file.folders))
    check_further(further, card)
    check_objects(tested_like(further, card))
    _check_licence(further, file)
    return further


def _load_card(ref: str | dict[str, Any], file: StudyFile) -> Card:
    try:
        card = load_card(ref, card_folders(*file.folders))
    except ValidationError as error:
        raise RequestError(f"tasks: {explain(error, Card)}") from error
    protocols = file.study.transfer.protocols_for(card.kind)
    if not protocols:
        raise RequestError(f"transfer.protocols: none is given for {card.kind}, the kind of task {card.name}")
    for protocol in protocols:
        check_protocol(protocol, card.kind)
    check_objects(card)
    _check_licence(card, file)
    return card


def load_source_card(name: str, file: StudyFile) -> Card | None:
    """The card of a labelled set that is a source and no task of the study; None when no card is called so.

    Raises RequestError for a card that cannot be used, or a licence that was not accepted.
    """
    folders = card_folders(*file.folders)
    if name not in card_names(folders):
        return None
    card = load_card(name, folders)
    _check_licence(card, file)
    return card


def _check_licence(card: Card, file: StudyFile) -> None:
    if card.licence.restricted and card.name not in file.study.accept_licences and not licence_accepted(card):
        raise RequestError(
            f"task {card.name}: its licence ({card.licence.name}) is not accepted yet; read it, then run "
            f"`raysweep datasets prepare {card.name} --data FOLDER --accept-licence`, or list {card.name} under "
            f"accept_licences"
        )
