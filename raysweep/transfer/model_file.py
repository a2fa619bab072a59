"""A trained model from its file, ready to predict."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn

from raysweep.backbones.checkpoint import load_checkpoint
from raysweep.backbones.create import create_backbone
from raysweep.errors import WorkError
from raysweep.storage import Storage
from raysweep.transfer.frozen import FrozenProtocol
from raysweep.transfer.images import enlarge, pad
from raysweep.transfer.model_info import ModelInfo, read_model_info
from raysweep.transfer.network import assemble
from raysweep.transfer.own_px import seen_at
from raysweep.transfer.portions import Portions
from raysweep.transfer.preprocess import Preprocess
from raysweep.transfer.protocol import get_protocol
from raysweep.transfer.windows import window_origins

_BACKBONE = "backbone."  # begins the names of what is the backbone's in a file with a whole frozen model

_Forward = Callable[[np.ndarray], np.ndarray]  # uint8 (n, px, px, 3) -> float32 (n, ...)


class TrainedModel:
    """What a final left behind. It predicts as the final predicted the images of its task."""

    def __init__(
        self, info: ModelInfo, forward: _Forward, score: Callable[[np.ndarray], np.ndarray], *, batch: int
    ) -> None:
        """`forward` gives probabilities or features of windows; `score` what is predicted, from their means."""
        self.info = info
        self._forward, self._score, self._portions, self._batch = forward, score, Portions(batch), batch

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities of uint8 (n, h, w, 3): float32 (n, classes), of segmentation (n, h, w, classes).

        Pixels are at the scale of `info.mpp`. What is larger than `info.px` is seen in the fewest windows of that edge
        that cover it, what they say being averaged; what is smaller is enlarged, or mirrored at its edge for masks.
        The scores of `svm` and `knn` are ranks more than probabilities (see there).
        """
        px, masks = self.info.px, self.info.kind == "segmentation"
        height, width = pixels.shape[1:3]
        if min(height, width) < px:
            pixels = np.stack([(pad if masks else enlarge)(image, px) for image in pixels])
        origins = window_origins(pixels.shape[1], pixels.shape[2], px)
        at_once = max(1, self._batch // len(origins))  # pictures: windows of all would be many times as large
        parts = [self._predict(pixels[i : i + at_once], origins) for i in range(0, len(pixels), at_once)]
        return np.concatenate(parts)[:, :height, :width] if masks else np.concatenate(parts)

    def _predict(self, pixels: np.ndarray, origins: list[tuple[int, int]]) -> np.ndarray:
        px = self.info.px
        windows = [pixels[:, y : y + px, x : x + px] for y, x in origins]
        flat = self._forwarded(np.concatenate(windows))
        outputs = flat.reshape(len(windows), len(pixels), *flat.shape[1:])
        if self.info.kind == "classification":
            return self._score(outputs.mean(0, dtype=np.float64).astype(np.float32))
        total = np.zeros((*pixels.shape[:3], outputs.shape[-1]), np.float32)
        count = np.zeros((*pixels.shape[1:3], 1), np.float32)
        for (y, x), output in zip(origins, outputs, strict=True):
            total[:, y : y + px, x : x + px] += output
            count[y : y + px, x : x + px] += 1
        return total / count

    def _forwarded(self, windows: np.ndarray) -> np.ndarray:
        def run(size: int) -> np.ndarray:
            return np.concatenate([self._forward(windows[i : i + size]) for i in range(0, len(windows), size)])

        return self._portions.run(run)


def load_model(folder: Storage, *parts: str, gpu: bool = False, batch: int = 64) -> TrainedModel:
    """The model in a file below a folder; its backbone from a checkpoint beside it where the file has the head alone.

    `batch`: windows at a time; fewer where memory runs out.
    Raises RequestError when the file is none of a model, WorkError when it and its backbone do not fit, and as
    `load_checkpoint`.
    """
    info = read_model_info(folder, *parts)
    arrays = load(folder.read_bytes(*parts))
    device = torch.device("cuda" if gpu else "cpu")
    protocol = get_protocol(info.protocol)
    try:
        if isinstance(protocol, FrozenProtocol):
            backbone = _backbone_beside(info, folder) if info.backbone else _backbone(info, arrays)
            head = {name: value.numpy() for name, value in arrays.items() if not name.startswith(_BACKBONE)}
            scorer = protocol.scorer(head)
            return TrainedModel(info, _features(info, backbone, device), lambda f: scorer(f)[0], batch=batch)
        return TrainedModel(info, _probabilities(info, _network(info, arrays), device), lambda p: p, batch=batch)
    except (RuntimeError, KeyError) as error:
        raise WorkError(f"{folder.path(*parts)}: does not fit {info.checkpoint.backbone} ({error})") from error


def whole(folder: Storage, *parts: str) -> tuple[dict[str, Tensor], ModelInfo]:
    """The arrays of a model together with those of its backbone, which need nothing beside them. Raises as above."""
    info = read_model_info(folder, *parts)
    arrays = dict(load(folder.read_bytes(*parts)))
    if info.backbone:
        weights = _backbone_beside(info, folder).state_dict()
        arrays |= {f"{_BACKBONE}{name}": value for name, value in weights.items()}
    return arrays, info.model_copy(update={"backbone": None})


def _backbone_beside(info: ModelInfo, folder: Storage) -> nn.Module:
    assert info.backbone is not None
    up = info.backbone.split("/").count("..")  # object stores know no `..`
    root = folder.root.split("/")[: -up or None]
    place = Storage(folder.fs, "/".join([*root, *(part for part in info.backbone.split("/") if part != "..")]))
    return load_checkpoint(place)[0]


def _backbone(info: ModelInfo, arrays: Mapping[str, Tensor]) -> nn.Module:
    start = info.checkpoint
    model = create_backbone(start.backbone, seed=0, arguments=start.arguments, pool=start.pool)
    own = {name.removeprefix(_BACKBONE): value for name, value in arrays.items() if name.startswith(_BACKBONE)}
    model.load_state_dict(own)
    return model.eval()


def _network(info: ModelInfo, arrays: Mapping[str, Tensor]) -> nn.Module:
    start = info.checkpoint
    backbone = create_backbone(start.backbone, seed=0, arguments=start.arguments, pool=start.pool).eval()
    with torch.random.fork_rng(devices=[]):  # a head is drawn, and then filled
        network = assemble(
            backbone, info.kind, name=start.backbone, arguments=start.arguments, n_classes=len(info.classes),
            px=info.px, dropout=0.0, decoder=info.decoder or "unet",
        )  # fmt: skip
    network.load_state_dict(arrays)
    network.own_px = info.own_px
    return network.eval()


def _probabilities(info: ModelInfo, network: nn.Module, device: torch.device) -> _Forward:
    """As `FinetuneRun` has them."""
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    preprocess = Preprocess(info.checkpoint.mean, info.checkpoint.std, device)

    @torch.inference_mode()
    def forward(pixels: np.ndarray) -> np.ndarray:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = network(preprocess(pixels))
        return logits.float().softmax(1).movedim(1, -1).cpu().numpy()

    return forward


def _features(info: ModelInfo, backbone: nn.Module, device: torch.device) -> _Forward:
    """As `features_of` has them: in full precision."""
    model: Any = backbone.to(device)
    preprocess = Preprocess(info.checkpoint.mean, info.checkpoint.std, device)

    @torch.inference_mode()
    def forward(pixels: np.ndarray) -> np.ndarray:
        return model(seen_at(preprocess(pixels), info.px, info.own_px)).float().cpu().numpy()

    return forward
