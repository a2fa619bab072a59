"""One (checkpoint, task, protocol, label fraction), and its repeats: what is compared with what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raysweep.storage import Artefact, Storage
from raysweep.transfer import schema
from raysweep.transfer.decoders import DecoderChoice
from raysweep.transfer.frozen import FrozenProtocol
from raysweep.transfer.protocol import get_protocol
from raysweep.transfer.spec import TransferSpec

_SEARCH_FORMAT = 3  # raise it when the same keys would give another search


@dataclass(frozen=True)
class Repeat:
    """One repetition of a cell: an artefact with a draw of labels, a search and a final of its own.

    `weights` and `features` (of frozen protocols; else none) are folders: one, or one for each fold where the
    checkpoint differs between folds. So are the `test_features` of each further test set. Without `final` it is
    searched alone: it stays unfinished, and another run may give it its final.
    """

    number: int
    artefact: Artefact  # <home>/<fp8>/<number>
    pretraining_seed: int
    weights: tuple[Storage, ...]
    features: tuple[Storage, ...] = ()
    test_features: Mapping[str, tuple[Storage, ...]] = field(default_factory=dict)
    final: bool = True

    def weights_of(self, fold: int) -> Storage:
        """The folder of the checkpoint that the fold starts from."""
        return self.weights[fold if len(self.weights) > 1 else 0]

    def features_of(self, fold: int) -> Storage | None:
        """The folder of the fold's features; None where the protocol needs none."""
        return self.features[fold if len(self.features) > 1 else 0] if self.features else None

    def test_features_of(self, fold: int) -> dict[str, Storage]:
        """The folders of the features of further test sets by the fold's checkpoint."""
        return {name: own[fold if len(own) > 1 else 0] for name, own in self.test_features.items()}

    @property
    def all_features(self) -> list[Storage]:
        """Every folder of features that it needs."""
        return [*self.features, *(folder for own in self.test_features.values() for folder in own)]


@dataclass(frozen=True)
class Cell:
    """A cell, where its inputs are, and its repeats in order."""

    checkpoint: str
    task: str
    task_folder: Storage  # written by Task.save
    protocol: str
    kind: str  # classification | segmentation
    fraction: float
    space: dict[str, Any]  # what `load_space` returned
    repeats: tuple[Repeat, ...]
    decoder: DecoderChoice | None = None  # of a segmentation task
    adaptation: str = ""  # what of the backbone is trained; empty: what the protocol always does
    test_sets: Mapping[str, Storage] = field(default_factory=dict)  # further ones: where the index of each is kept

    @property
    def name(self) -> str:
        """What people call it: checkpoint/task/protocol/fraction."""
        return f"{self.checkpoint}/{self.task}/{self.protocol}/{self.fraction:g}"

    @property
    def frozen(self) -> bool:
        """Whether it has no trials: each repeat is a final alone, which chooses its setting on the path in `space`."""
        return get_protocol(self.protocol).frozen


def piece_of(cell: Cell, repeat: Repeat, transfer: TransferSpec) -> Storage:
    """The folder that names what one run at a time works on: a repeat, or a whole cell whose repeats share a search."""
    return repeat.artefact.home if transfer.search == "once" and not cell.frozen else repeat.artefact.folder


def repeat_inputs(
    transfer: TransferSpec,
    *,
    checkpoints: Sequence[str],
    searched_on: Sequence[str] | None = None,
    task: str,
    protocol: str,
    kind: str,
    fraction: float,
    space: dict[str, Any],
    seed: int,
    decoder: DecoderChoice | None = None,
    adaptation: str = "",
    test_sets: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What the fingerprint of a repeat covers, apart from its number.

    `checkpoints` (one, or one for each fold) and `task` are fingerprints, `space` is what `load_space` returned,
    `seed` is the study's, `decoder` that of a segmentation task. `searched_on` are the checkpoints of repeat 0 where
    its search serves this repeat too. `test_sets` are the fingerprints of further test sets; they are the
    final's alone: a search is taken over from a repeat that differs in nothing else (`EarlierSearches`). Of the budget
    only what the protocol uses counts (a frozen one uses nothing: its path is its space), and neither the number of
    repeats nor the study's other protocols, fractions and spaces: changing those must not repeat this one.
    """
    how = get_protocol(protocol)
    keys = {"fraction_of", *how.budget}
    if "trials" in keys:
        keys.add("sampler")
    budget = transfer.model_dump(mode="json", include=keys)
    if transfer.parallel_per_repeat > 1 and not how.frozen:
        budget["parallel_per_repeat"] = transfer.parallel_per_repeat
    inputs: dict[str, Any] = {
        "format": [schema.FORMAT, how.path_format if isinstance(how, FrozenProtocol) else _SEARCH_FORMAT],
        "checkpoints": list(checkpoints),
        "task": task,
        "protocol": protocol,
        "kind": kind,
        "fraction": fraction,
        "space": space,
        "budget": budget,
        "seed": seed,
    }
    if decoder is not None:
        inputs["decoder"] = decoder
    if adaptation not in ("", how.adaptation):
        inputs["adaptation"] = adaptation
    if test_sets:
        inputs["test_sets"] = dict(test_sets)
    return inputs if searched_on is None else inputs | {"searched_on": list(searched_on)}
