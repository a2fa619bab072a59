"""The file of a trained model: its weights, and in the file's head everything that predicting by them needs. Light."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from raysweep.backbones.checkpoint import CheckpointInfo, read_metadata
from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.storage import Storage
from raysweep.tasks.card import Card
from raysweep.transfer.decoders import DecoderChoice

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

FOLDER = "model"  # below a repeat's folder: one file for each fold
EXPORTED = "model.safetensors"  # in a folder of its own
_METADATA = "raysweep-model"  # the key of ours in the file's metadata


class ModelInfo(Model):
    """What a trained model is, what it is fed and where it comes from."""

    format: Literal[1] = 1
    protocol: str
    kind: Literal["classification", "segmentation"]
    task: str = Field(description="name of the card that it was trained on")
    classes: list[str]
    fold: int = Field(description="of the task's divisions: what it has not seen")
    px: int = Field(description="edge of what it is given, pixels")
    own_px: int = Field(description="edge at which the backbone sees that")
    mpp: float | None = Field(None, description="um per pixel of what it is given; none: unknown")
    decoder: DecoderChoice | None = Field(None, description="of a segmentation task")
    params: dict[str, Any] = Field(description="the setting of the training")
    data_licence: str = Field(description="of the images that it was trained on")
    checkpoint: CheckpointInfo = Field(description="what it started from: backbone, preprocessing, licence, lineage")
    backbone: str | None = Field(
        None, description="folder of the checkpoint whose backbone this is the head of, from that of the repeat; "
        "none: the backbone is in the file",
    )  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """Arrays by name, and what they are.

    Of `finetune` the network's weights; of a frozen protocol what `FrozenProtocol.fitted` gave.
    """

    arrays: "Mapping[str, Tensor] | Mapping[str, np.ndarray]"
    info: ModelInfo
    checkpoint: Storage | None = None  # of a frozen protocol: where the backbone is


def model_info(
    card: Card, checkpoint: CheckpointInfo, *, protocol: str, fold: int, params: dict[str, Any], own_px: int,
    decoder: DecoderChoice | None = None,
) -> ModelInfo:  # fmt: skip
    """What a model trained on that card's task, from that checkpoint, is."""
    return ModelInfo(
        protocol=protocol, kind=card.kind, task=card.name, classes=card.classes, fold=fold, px=card.px,
        own_px=own_px, mpp=card.at_mpp or card.mpp, decoder=decoder if card.kind == "segmentation" else None,
        params=params, data_licence=card.licence.name, checkpoint=checkpoint,
    )  # fmt: skip


def file_of(fold: int) -> tuple[str, str]:
    """Where a repeat's folder has the model of a fold."""
    return FOLDER, f"fold{fold}.safetensors"


def save_model(folder: Storage, trained: Trained) -> None:
    """Write a fold's model into a repeat's folder; a backbone that was not trained by its checkpoint's place alone."""
    info = trained.info
    if trained.checkpoint is not None:
        info = info.model_copy(update={"backbone": posixpath.relpath(trained.checkpoint.root, folder.root)})
    write_model(folder, trained.arrays, info, *file_of(info.fold))


def write_model(
    folder: Storage, arrays: "Mapping[str, Tensor] | Mapping[str, np.ndarray]", info: ModelInfo, *parts: str
) -> None:
    """Write arrays (torch's or numpy's) and what they are."""
    import torch
    from safetensors.torch import save

    tensors = {name: torch.as_tensor(value).detach().cpu().contiguous() for name, value in arrays.items()}
    folder.write_bytes(save(tensors, {_METADATA: info.model_dump_json(exclude_none=True)}), *parts)


def read_model_info(folder: Storage, *parts: str) -> ModelInfo:
    """What the model in a file is. Raises RequestError when the file is none of a model."""
    try:
        return ModelInfo.model_validate_json(read_metadata(folder, *parts)[_METADATA])
    except (ValueError, KeyError) as error:
        raise RequestError(
            f"{folder.path(*parts)}: no trained model of raysweep; give a folder below cells/ of a study's storage, or "
            "one that `raysweep export` made of it"
        ) from error
