"""One (checkpoint, task, protocol, label fraction): what is compared with what."""

from dataclasses import dataclass
from typing import Any

from raysweep.storage import Artefact, Storage
from raysweep.transfer import schema
from raysweep.transfer.spec import TransferSpec

_SEARCH_FORMAT = 1  # raise it when the same keys would give another search


@dataclass(frozen=True)
class Cell:
    """A cell and where its inputs and results are."""

    checkpoint: str
    checkpoints: list[Storage]  # one folder per pretraining seed
    task: str
    task_folder: Storage  # written by Task.save
    protocol: str
    kind: str  # classification | segmentation
    fraction: float
    artefact: Artefact  # home: <study's folder>/cells/<checkpoint>/<task>/<protocol>/<fraction>
    features: list[Storage]  # frozen protocols: one folder per pretraining seed; else none

    @property
    def name(self) -> str:
        """What people call it: checkpoint/task/protocol/fraction."""
        return f"{self.checkpoint}/{self.task}/{self.protocol}/{self.fraction:g}"


def cell_inputs(
    transfer: TransferSpec,
    *,
    checkpoints: list[str],
    task: str,
    protocol: str,
    kind: str,
    fraction: float,
    space: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    """What a cell's fingerprint covers.

    `checkpoints` and `task` are fingerprints, `space` is what `load_space` returned, `seed` is the study's. The
    study's other protocols, fractions and spaces are left out: changing them must not repeat this cell.
    """
    budget = transfer.model_dump(mode="json", exclude={"protocols", "fractions", "spaces"})
    return {
        "format": [schema.FORMAT, _SEARCH_FORMAT],
        "checkpoints": checkpoints,
        "task": task,
        "protocol": protocol,
        "kind": kind,
        "fraction": fraction,
        "space": space,
        "budget": budget,
        "seed": seed,
    }
