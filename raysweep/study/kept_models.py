"""Where a trained model is: below the cells of a study's storage, or in a folder that was exported. Light."""

from dataclasses import dataclass
from typing import Any

from raysweep.errors import RequestError
from raysweep.storage import MANIFEST, Storage
from raysweep.transfer.model_info import EXPORTED, FOLDER, file_of

_FINAL = "final.parquet"


@dataclass(frozen=True)
class Kept:
    """The file of a model: `parts` below `folder`, an exported one or that of a repeat."""

    folder: Storage
    parts: tuple[str, ...]


def find_repeat(path: str) -> Storage | None:
    """The folder of a finished repeat: `path` itself, or the first repeat of the cell whose folder it is; else None."""
    folder = Storage.open(path)
    places = [folder, folder.at("0")]
    if folder.exists("current"):
        places += [folder.at(name, "0") for name in folder.read_bytes("current").decode().split()]
    return next((place for place in places if place.exists(MANIFEST) and place.exists(_FINAL)), None)


def find_model(path: str, fold: int | None) -> Kept:
    """The model in a folder, of a fold of its task (default: the first).

    Raises RequestError for a folder without a model, saying why there is none.
    """
    folder = Storage.open(path)
    if folder.exists(EXPORTED):
        if fold is not None:
            raise RequestError(f"--fold {fold}: {path} is an exported model, of one fold alone; leave it out")
        return Kept(folder, (EXPORTED,))
    repeat = find_repeat(path)
    if repeat is None:
        raise RequestError(
            f"{path}: no trained model here; give a folder below cells/ of a study's storage whose first repeat is "
            "finished, or one that `raysweep export` made of it"
        )
    parts = file_of(fold or 0)
    if not repeat.exists(*parts):
        raise RequestError(f"{path}: {_why_not(repeat, fold or 0)}")
    return Kept(repeat, parts)


def results_of(repeat: Storage) -> list[dict[str, Any]]:
    """The result rows of a finished repeat: one for each test set and metric."""
    return repeat.read_table(_FINAL).to_pylist()


def _why_not(repeat: Storage, fold: int) -> str:
    rows = results_of(repeat)
    folds, number, reason = rows[0]["n_folds"], rows[0]["repeat"], rows[0]["reason"]
    if fold >= folds:
        return f"there is no fold {fold}: the task has {folds}, counted from 0"
    if repeat.exists(FOLDER) or reason:
        return f"the final of fold {fold} left no model ({reason or 'its file is gone'})"
    if number > 0:
        return f"it is repeat {number}, and only repeat 0 keeps its model; give the folder 0 beside it"
    return (
        "no model was kept here; set transfer.keep_models: first, remove this folder and run the study again: it is "
        "made anew, with its model"
    )
