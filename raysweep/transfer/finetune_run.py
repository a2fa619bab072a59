"""Fine-tuning one job: the checkpoint and a new head are trained, evaluated on val, and the best weights kept."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysweep.backbones.checkpoint import CheckpointInfo
from raysweep.tasks.masks import IGNORED
from raysweep.transfer.batches import Batches
from raysweep.transfer.budget import evaluation_steps
from raysweep.transfer.counting import MaskCounts
from raysweep.transfer.groups import freeze_layers, layers_of, parameter_groups
from raysweep.transfer.images import Images, open_images
from raysweep.transfer.job import Diverged, Evaluation, Job, Run
from raysweep.transfer.kept_masks import KeptMasks
from raysweep.transfer.lora import add_adapters, merge_adapters
from raysweep.transfer.losses import classification_loss, dice_loss, dice_sums, segmentation_loss
from raysweep.transfer.metrics import score
from raysweep.transfer.model_info import Trained, model_info
from raysweep.transfer.network import Network, build_network
from raysweep.transfer.portions import Portions
from raysweep.transfer.predictions import classification_table
from raysweep.transfer.preprocess import Preprocess
from raysweep.transfer.probe_head import start_from_probe
from raysweep.transfer.protocol import read_settings
from raysweep.transfer.training import Training
from raysweep.transfer.windows import average_windows, stitch_windows


class FinetuneRun(Run):
    """See `Run`. Deterministic to the bit on CPU for the same job, threads and package versions."""

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(job.threads)
        self._job = job
        self._images: Images = open_images(job.task, job.data)
        self._card = card = self._images.task.card
        settings: Any = read_settings("finetune", card.kind, job.params, job.adaptation)
        network, info = build_network(
            job.checkpoint, card.kind, n_classes=len(card.classes), px=card.px,
            dropout=getattr(settings, "dropout", 0.0), seed=job.seed,
            decoder=job.decoder,
        )  # fmt: skip
        self._info, self._settings = info, settings
        groups = _prepared(network, info, settings, job)
        self._device = torch.device("cuda" if job.gpu else "cpu")
        self._network: Network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._preprocess = Preprocess(info.mean, info.std, self._device)
        self._portions = Portions(job.batch)
        if getattr(settings, "head", "new") == "probe":
            self._start_from_probe()
        self._training = Training(
            job, self._network, Batches(self._images, job.train, batch=job.batch, seed=job.seed),
            loss=classification_loss if card.kind == "classification" else segmentation_loss,
            preprocess=self._preprocess, augment=settings.augment, groups=groups,
            train_norms=getattr(settings, "batch_norm", "train") == "train", portions=self._portions,
        )  # fmt: skip
        self._ends = evaluation_steps(job.steps, job.evaluations)
        self._best: tuple[float, float] | None = None
        self._kept: dict[str, Tensor] | None = None

    def advance(self) -> Evaluation | None:
        if not self._ends:
            return None
        train_loss = self._training.until(self._ends.pop(0))
        predictions, val_loss = self._evaluate(self._job.val, metrics=[self._card.metric])
        step = self._training.step
        if not math.isfinite(val_loss):
            raise Diverged(f"training diverged at step {step}: the loss on val is {val_loss}")
        metric = score(predictions, self._card.metric, self._card.kind)
        self._keep(metric, val_loss)
        micro_batch = self._portions.size if self._portions.halved else None
        return Evaluation(step, train_loss, val_loss, metric, micro_batch=micro_batch)

    def predict(self, indices: Sequence[int], images: Images | None = None, masks: KeptMasks | None = None) -> pa.Table:
        if self._kept is None:
            return self._evaluate(indices, images, masks=masks)[0]
        newest = _copied(self._network)
        self._network.load_state_dict(self._kept, strict=False)
        try:
            return self._evaluate(indices, images, masks=masks)[0]
        finally:
            self._network.load_state_dict(newest, strict=False)

    def trained(self) -> Trained:
        """The whole network, adapters merged into the weights beside them."""
        weights = {**self._network.state_dict(), **(self._kept or {})}
        if self._job.adaptation == "lora":
            weights = merge_adapters(weights, scale=self._settings.scale)
        info = model_info(
            self._card, self._info, protocol="finetune", fold=self._job.fold, params=self._job.params,
            own_px=self._network.own_px, decoder=self._job.decoder,
        )  # fmt: skip
        return Trained(weights, info)

    def _start_from_probe(self) -> None:
        linear = next(module for module in self._network.head.modules() if isinstance(module, nn.Linear))
        labels = np.array([self._images.task.samples[i].label for i in self._job.train])

        def features() -> np.ndarray:
            return average_windows(self._images, self._job.train, self._features, batch=self._job.batch)

        start_from_probe(linear, self._job, labels, features)

    def _keep(self, metric: float, val_loss: float) -> None:
        """Copy the weights if they are better than those kept so far."""
        if self._job.select == "last":
            return
        if self._job.select == "val_loss":
            quality = (-val_loss, 0.0)
        else:
            quality = (metric if math.isfinite(metric) else -math.inf, -val_loss)
        if self._best is None or quality > self._best:
            self._best, self._kept = quality, _copied(self._network)

    def _evaluate(
        self, indices: Sequence[int], images: Images | None = None, *, metrics: Sequence[str] | None = None,
        masks: KeptMasks | None = None,
    ) -> tuple[pa.Table, float]:  # fmt: skip
        """Predictions and loss of the network as it is, for images of the job's own task or others.

        metrics: those whose counts are wanted, where they have some of their own; default: all that the card lists.
        """
        self._network.eval()
        images = images or self._images
        if self._card.kind == "classification":
            return self._evaluate_classification(images, indices)
        return self._evaluate_segmentation(images, indices, metrics or images.task.card.metrics, masks)

    def _evaluate_classification(self, images: Images, indices: Sequence[int]) -> tuple[pa.Table, float]:
        samples = [images.task.samples[i] for i in indices]
        scores = average_windows(images, indices, self._probabilities, batch=self._job.batch)
        labels = np.array([sample.label for sample in samples])
        right = scores[np.arange(len(labels)), labels].astype(np.float64)
        loss = -np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean()
        return classification_table(samples, scores, fold=self._job.fold), float(loss)

    def _evaluate_segmentation(
        self, images: Images, indices: Sequence[int], metrics: Sequence[str], masks: KeptMasks | None
    ) -> tuple[pa.Table, float]:
        classes = len(self._card.classes)
        counts = MaskCounts(images.task, indices, metrics)
        entropy, pixels = 0.0, 0
        overlap, sizes = torch.zeros(classes - 1, dtype=torch.float64), torch.zeros(classes - 1, dtype=torch.float64)
        maps = stitch_windows(images, indices, self._probabilities, batch=self._job.batch)
        for index, (picture, stitched) in zip(indices, maps, strict=True):
            assert picture.mask is not None
            truth = picture.mask[: picture.height, : picture.width]
            predicted = stitched.argmax(-1)
            counts.add(predicted, truth)
            if masks is not None:
                masks.offer(index, images.task.samples[index], predicted, truth)
            mask = torch.from_numpy(truth.astype(np.int64))[None]
            probabilities = torch.from_numpy(stitched).movedim(-1, 0)[None]
            log = probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()
            entropy += float(F.nll_loss(log, mask, ignore_index=IGNORED, reduction="sum"))
            pixels += int((mask != IGNORED).sum())
            more_overlap, more_sizes = dice_sums(probabilities, mask)
            overlap, sizes = overlap + more_overlap, sizes + more_sizes
        return counts.table(fold=self._job.fold), entropy / max(pixels, 1) + float(dice_loss(overlap, sizes))

    def _probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (batch, px, px, 3) -> float32 (batch, classes) or (batch, px, px, classes)."""
        return self._portions.run(
            lambda size: np.concatenate([self._forward(pixels[i : i + size]) for i in range(0, len(pixels), size)])
        )

    def _features(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (batch, px, px, 3) -> float32 (batch, d), what the head is given."""
        return self._portions.run(
            lambda size: np.concatenate([self._embed(pixels[i : i + size]) for i in range(0, len(pixels), size)])
        )

    @torch.no_grad()
    def _embed(self, pixels: np.ndarray) -> np.ndarray:
        return self._network.features(self._preprocess(pixels)).float().cpu().numpy()  # type: ignore[operator]

    @torch.inference_mode()
    def _forward(self, pixels: np.ndarray) -> np.ndarray:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._job.gpu):
            logits = self._network(self._preprocess(pixels))
        return logits.float().softmax(1).movedim(1, -1).cpu().numpy()


def _prepared(network: Network, info: CheckpointInfo, settings: Any, job: Job) -> list[dict[str, Any]]:
    """Decide what of the network is trained, and give the optimiser's groups."""
    layers = layers_of(info)
    shared = {"lr": settings.lr, "head_lr_factor": settings.head_lr_factor, "weight_decay": settings.weight_decay}
    if job.adaptation == "lora":
        add_adapters(network.backbone, rank=settings.rank, scale=settings.scale, seed=job.seed, name=info.backbone)
        return parameter_groups(network, layers, layer_decay=1.0, **shared)
    freeze_layers(network.backbone, layers, settings.freeze, info.backbone)
    return parameter_groups(network, layers, layer_decay=settings.layer_decay, **shared)


def _copied(network: nn.Module) -> dict[str, Tensor]:
    """What training changes: parameters that take gradients, and buffers."""
    state = network.state_dict()
    still = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    return {name: value.detach().clone() for name, value in state.items() if name not in still}
