"""What a report is told beside the files that it reads, kept with it so that others can make it again.

`report/told.json` names folders by the way from the study's folder to them: the whole may move, and no path of the
machine is in it.
"""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from raysweep import __version__
from raysweep.errors import RequestError, WorkError
from raysweep.report.cells import CellRef, RepeatRef
from raysweep.report.seen import Seen
from raysweep.report.spec import CompareSpec
from raysweep.storage import Storage

FILE = "told.json"  # below report/


@dataclass(frozen=True)
class Told:
    """Arguments of `write_report`, which says what they are.

    umap: whether features were drawn by UMAP. raysweep: the version that wrote the report, which may word or draw
    things in another way than this one.
    """

    study: str
    question: str | None
    compare: CompareSpec
    patch_sets: Mapping[str, Storage]
    checkpoints: Mapping[str, Sequence[Storage]]
    cells: Sequence[CellRef]
    choices: Sequence[Storage] = ()
    tasks: Mapping[str, Storage] = field(default_factory=dict)
    features: Mapping[tuple[str, str], Storage] = field(default_factory=dict)
    registration: Mapping[str, str] = field(default_factory=dict)
    umap: bool = False
    raysweep: str = __version__

    def arguments(self) -> dict[str, Any]:
        """As keywords of `write_report`."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "raysweep"}


def save_told(told: Told, home: Storage) -> None:
    """Write `report/told.json` below a study's folder."""

    def way(folder: Storage) -> str:
        return posixpath.relpath(folder.root, home.root)

    cells = [
        _fields(cell)
        | {"repeats": [_fields(r) | {"folder": way(r.folder)} for r in cell.repeats]}
        | {"seen": [_fields(seen) for seen in cell.seen]}
        for cell in told.cells
    ]
    value = _fields(told) | {
        "compare": told.compare.model_dump(mode="json"),
        "patch_sets": {name: way(folder) for name, folder in told.patch_sets.items()},
        "checkpoints": {name: [way(folder) for folder in folders] for name, folders in told.checkpoints.items()},
        "cells": cells,
        "choices": [way(folder) for folder in told.choices],
        "tasks": {name: way(folder) for name, folder in told.tasks.items()},
        "features": [[*of, way(folder)] for of, folder in told.features.items()],
        "registration": dict(told.registration),
    }
    home.write_json(value, "report", FILE)


def read_told(home: Storage) -> Told:
    """What the report below a study's folder was told.

    Raises RequestError when there is no report, or one of a version that kept nothing; WorkError for a damaged file.
    """
    if not home.exists("report", FILE):
        raise RequestError(
            f"{home.root}: there is no report/{FILE} in it; name a study's folder, or its report/, and where the "
            "report is of an older version write it again with `raysweep report`"
        )

    def there(way: str) -> Storage:
        return Storage(home.fs, posixpath.normpath(f"{home.root}/{way}"))  # those of several studies are beside it

    try:
        value = home.read_json("report", FILE)
        cells = [
            CellRef(**_tuples(cell) | {
                "repeats": tuple(RepeatRef(**r | {"folder": there(r["folder"])}) for r in cell["repeats"]),
                "seen": tuple(Seen(**seen) for seen in cell["seen"]),
            })
            for cell in value["cells"]
        ]  # fmt: skip
        return Told(**value | {
            "compare": CompareSpec.model_validate(value["compare"]),
            "patch_sets": {name: there(way) for name, way in value["patch_sets"].items()},
            "checkpoints": {name: [there(way) for way in ways] for name, ways in value["checkpoints"].items()},
            "cells": cells,
            "choices": [there(way) for way in value["choices"]],
            "tasks": {name: there(way) for name, way in value["tasks"].items()},
            "features": {(checkpoint, task): there(way) for checkpoint, task, way in value["features"]},
        })  # fmt: skip
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WorkError(f"{home.path('report', FILE)}: cannot be read ({type(error).__name__})") from error


def _fields(value: Any) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in fields(value)}


def _tuples(value: dict[str, Any]) -> dict[str, Any]:
    """With tuples for lists, as frozen dataclasses have them."""

    def tupled(inner: Any) -> Any:
        return tuple(tupled(x) for x in inner) if isinstance(inner, list) else inner

    return {key: tupled(inner) for key, inner in value.items()}
