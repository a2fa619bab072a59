"""Give a checkpoint away: timm-loadable weights with their preprocessing."""

from pathlib import Path

from raysweep.backbones.checkpoint import export_checkpoint
from raysweep.errors import RequestError
from raysweep.storage import Storage

_WEIGHTS = "backbone.safetensors"


def export(checkpoint: str, out: Path) -> Path:
    """Write `model.safetensors` and timm's `config.json` to a folder.

    `checkpoint` is a finished checkpoint's folder, or the folder above it when a `current` file names one.
    Raises RequestError when there is no checkpoint.
    """
    folder = Storage.open(checkpoint)
    if not folder.exists(_WEIGHTS) and folder.exists("current"):
        folder = folder.at(folder.read_bytes("current").decode().split()[0])
    if not folder.exists(_WEIGHTS):
        raise RequestError(f"{checkpoint}: no checkpoint here; give a folder below checkpoints/ of a study's storage")
    return export_checkpoint(folder, out)
