"""Fine-tuning one job: AdamW on backbone and head, evaluated on val, best weights kept."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysweep.randomness import torch_seed
from raysweep.tasks.masks import IGNORED
from raysweep.transfer.batches import Batch, Batches
from raysweep.transfer.counting import MaskCounts
from raysweep.transfer.images import Images, open_images
from raysweep.transfer.job import Diverged, Evaluation, Job, Run
from raysweep.transfer.losses import classification_loss, dice_loss, dice_sums, segmentation_loss
from raysweep.transfer.metrics import score
from raysweep.transfer.network import Network, build_network
from raysweep.transfer.predictions import classification_table
from raysweep.transfer.preprocess import Preprocess
from raysweep.transfer.protocol import read_settings
from raysweep.transfer.windows import average_windows, stitch_windows

_WARMUP = 0.05  # part of the steps
_CHECK_STEPS = 10  # a loss is looked at this often: on a GPU each look waits for it


class FinetuneRun(Run):
    """See `Run`. Deterministic to the bit on CPU for the same job, threads and package versions."""

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(job.threads)
        self._job = job
        self._images: Images = open_images(job.task, job.data)
        self._card = card = self._images.task.card
        settings: Any = read_settings("finetune", card.kind, job.params)
        network, info = build_network(
            job.checkpoint, card.kind, n_classes=len(card.classes), px=card.px,
            dropout=getattr(settings, "dropout", 0.0), seed=job.seed,
            decoder=job.decoder,
        )  # fmt: skip
        self._device = torch.device("cuda" if job.gpu else "cpu")
        self._network = network.to(self._device)
        self._preprocess = Preprocess(info.mean, info.std, self._device)
        self._augment = settings.augment
        self._batches = Batches(self._images, job.train, batch=job.batch, seed=job.seed)
        self._optimizer = torch.optim.AdamW(
            _groups(network, settings.lr, settings.lr * settings.head_lr_factor, settings.weight_decay)
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: _lr_factor(step, job.steps))
        self._step = 0
        ends = {max(1, round(job.steps * (i + 1) / job.evaluations)) for i in range(job.evaluations)}
        self._ends = sorted(ends)
        self._best: tuple[float, float] | None = None
        self._kept: dict[str, Tensor] | None = None

    def advance(self) -> Evaluation | None:
        if not self._ends:
            return None
        train_loss = self._train_until(self._ends.pop(0))
        predictions, val_loss = self._evaluate(self._job.val)
        if not math.isfinite(val_loss):
            raise Diverged(f"training diverged at step {self._step}: the loss on val is {val_loss}")
        metric = score(predictions, self._card.metric, self._card.kind)
        self._keep(metric, val_loss)
        return Evaluation(self._step, train_loss, val_loss, metric)

    def predict(self, indices: list[int]) -> pa.Table:
        if self._kept is None:
            return self._evaluate(indices)[0]
        newest = _copied(self._network)
        self._network.load_state_dict(self._kept)
        try:
            return self._evaluate(indices)[0]
        finally:
            self._network.load_state_dict(newest)

    def _train_until(self, end: int) -> float:
        """Train up to a step and give the mean loss on the way."""
        self._network.train()
        losses: list[float] = []
        unseen: list[Tensor] = []
        while self._step < end:
            unseen.append(self._train_step(self._batches.at(self._step)))
            self._step += 1
            if len(unseen) == _CHECK_STEPS or self._step == end:
                losses += torch.stack(unseen).tolist()
                unseen.clear()
                bad = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
                if bad is not None:
                    step = self._step - len(losses) + bad + 1
                    raise Diverged(f"training diverged at step {step}: the loss is {losses[bad]}; use a lower lr")
        return float(np.mean(losses))

    def _train_step(self, batch: Batch) -> Tensor:
        targets = torch.from_numpy(batch.targets).to(self._device)
        devices = [self._device] if self._job.gpu else []
        with torch.random.fork_rng(devices=devices):  # dropout and drop path
            torch.manual_seed(torch_seed(self._job.seed, "step", self._step))
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._job.gpu):
                logits = self._network(self._preprocess(batch.pixels, batch.colours * self._augment))
        loss = (classification_loss if self._card.kind == "classification" else segmentation_loss)(
            logits.float(), targets
        )
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._schedule.step()
        return loss.detach()

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

    def _evaluate(self, indices: Sequence[int]) -> tuple[pa.Table, float]:
        """Predictions and loss of the network as it is."""
        self._network.eval()
        if self._card.kind == "classification":
            return self._evaluate_classification(indices)
        return self._evaluate_segmentation(indices)

    def _evaluate_classification(self, indices: Sequence[int]) -> tuple[pa.Table, float]:
        samples = [self._images.task.samples[i] for i in indices]
        scores = average_windows(self._images, indices, self._probabilities, batch=self._job.batch)
        labels = np.array([sample.label for sample in samples])
        right = scores[np.arange(len(labels)), labels].astype(np.float64)
        loss = -np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean()
        return classification_table(samples, scores, fold=self._job.fold), float(loss)

    def _evaluate_segmentation(self, indices: Sequence[int]) -> tuple[pa.Table, float]:
        classes = len(self._card.classes)
        counts = MaskCounts(self._images.task, indices)
        entropy, pixels = 0.0, 0
        overlap, sizes = torch.zeros(classes - 1, dtype=torch.float64), torch.zeros(classes - 1, dtype=torch.float64)
        maps = stitch_windows(self._images, indices, self._probabilities, batch=self._job.batch)
        for picture, stitched in maps:
            assert picture.mask is not None
            truth = picture.mask[: picture.height, : picture.width]
            counts.add(stitched.argmax(-1), truth)
            mask = torch.from_numpy(truth.astype(np.int64))[None]
            probabilities = torch.from_numpy(stitched).movedim(-1, 0)[None]
            log = probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()
            entropy += float(F.nll_loss(log, mask, ignore_index=IGNORED, reduction="sum"))
            pixels += int((mask != IGNORED).sum())
            more_overlap, more_sizes = dice_sums(probabilities, mask)
            overlap, sizes = overlap + more_overlap, sizes + more_sizes
        return counts.table(fold=self._job.fold), entropy / max(pixels, 1) + float(dice_loss(overlap, sizes))

    @torch.inference_mode()
    def _probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (batch, px, px, 3) -> float32 (batch, classes) or (batch, px, px, classes)."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._job.gpu):
            logits = self._network(self._preprocess(pixels))
        return logits.float().softmax(1).movedim(1, -1).cpu().numpy()


def _groups(network: Network, lr: float, head_lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups; biases and norms (one dimension) are not decayed."""
    groups = []
    for module, rate in ((network.backbone, lr), (network.head, head_lr)):
        parameters = [p for p in module.parameters() if p.requires_grad]
        for many, decay in ((True, weight_decay), (False, 0.0)):
            chosen = [p for p in parameters if (p.ndim > 1) == many]
            groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return groups


def _lr_factor(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine towards zero."""
    warmup = max(1, round(_WARMUP * steps))
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in network.state_dict().items()}
