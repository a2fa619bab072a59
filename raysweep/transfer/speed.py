"""What a network of the transfer costs on this machine: measured in a few steps, or reckoned where it is large."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysweep.backbones.create import create_backbone
from raysweep.backbones.machine import MOST_SECONDS, batch_for, machine, seconds_of, timed, torch_threads
from raysweep.memory import keep_memory
from raysweep.transfer.features import FEATURES_BATCH
from raysweep.transfer.losses import classification_loss, segmentation_loss
from raysweep.transfer.network import Network, assemble
from raysweep.transfer.own_px import output_on_meta, own_px, seen_at
from raysweep.transfer.preprocess import Preprocess
from raysweep.transfer.speed_record import Architecture, Speed
from raysweep.transfer.work import BACKWARD, Work, count_work

MOST_PARAMETERS = 150_000_000  # of a network that is made to be measured: 2.4 GB with gradients and the optimiser's
WORTH = 0.6  # of the rate of large matrix products: what most networks reach (0.4 to 0.9 measured on processors)
_BUILD = 2e-8  # seconds to draw a parameter and to read its value
_MEAN, _STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def measure_finetuning(of: Architecture, *, rate: float, threads: int, quick: bool = False) -> Speed:
    """The speed of a network as `FinetuneRun` trains and evaluates it.

    rate: of this machine (`flops_per_second`); quick: measure nothing.
    """
    network = _meta_network(of)
    images = torch.zeros(1, 3, of.px, of.px, device="meta")
    work = count_work(network, lambda n: network(images.expand(n, -1, -1, -1)))
    linear = [m for m in network.backbone.modules() if isinstance(m, nn.Linear)]
    adapters = sum(m.in_features + m.out_features for m in linear)
    plan = _reckoned(work, rate, training=True, adapters=adapters)
    if quick or not _measurable(work, plan.training):
        return plan
    return replace(plan, **_measured_finetuning(of, threads, plan))


def measure_features(of: Architecture, *, rate: float, threads: int, quick: bool = False) -> Speed:
    """The speed of a backbone as `compute_features` runs it; only `inference` and `start` are told."""
    with torch.device("meta"):
        backbone = create_backbone(of.backbone, seed=0, arguments=of.arguments, pool=of.pool)
    own = own_px(backbone.eval(), backbone, of.px, name=of.backbone, arguments=of.arguments)
    images = torch.zeros(1, 3, own, own, device="meta")
    work = count_work(backbone, lambda n: backbone(images.expand(n, -1, -1, -1)))
    plan = replace(_reckoned(work, rate, training=False), width=int(output_on_meta(backbone, own).shape[1]))
    if quick or not _measurable(work, plan.inference):
        return plan
    made: list[nn.Module] = []

    def build() -> None:
        made.append(create_backbone(of.backbone, seed=0, arguments=of.arguments, pool=of.pool).to(_device()).eval())

    def forward(pixels: np.ndarray) -> None:
        with torch.no_grad():
            made[0](seen_at(preprocess(pixels), of.px, own)).float().cpu().numpy()

    with torch_threads(threads):
        start = seconds_of(build, threads=threads)
        preprocess = Preprocess(_MEAN, _STD, _device())
        pixels = _pixels(batch_for(plan.inference, FEATURES_BATCH), of.px)
        inference = timed(lambda: forward(pixels), threads=threads) / len(pixels)
    return replace(plan, inference=inference, start=start, measured=True)


def _measured_finetuning(of: Architecture, threads: int, plan: Speed) -> dict[str, Any]:
    device = _device()
    made: list[Network] = []
    if device.type == "cpu":
        keep_memory()  # as in a trial

    def build() -> None:
        backbone = create_backbone(of.backbone, seed=0, arguments=of.arguments, pool=of.pool).eval()
        made.append(_assembled(of, backbone).to(device, memory_format=torch.channels_last))  # type: ignore[call-overload]

    with torch_threads(threads):
        start = seconds_of(build, threads=threads)
        network, preprocess = made[0], Preprocess(_MEAN, _STD, device)
        n = max(2, batch_for(plan.training))
        pixels, colours = _pixels(n, of.px), np.zeros((n, 3), np.float32)
        shape = (n,) if of.kind == "classification" else (n, of.px, of.px)
        targets = torch.zeros(shape, dtype=torch.int64, device=device)
        loss_of = classification_loss if of.kind == "classification" else segmentation_loss
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.0)
        half = device.type == "cuda"

        def forward(given: Any = None) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                return network(preprocess(pixels, given)).float()

        def train() -> None:
            optimizer.zero_grad()
            loss_of(forward(colours), targets).backward()

        @torch.inference_mode()
        def evaluate() -> None:
            forward().softmax(1).movedim(1, -1).cpu().numpy()

        network.train()
        training = timed(train, threads=threads) / n
        step = timed(optimizer.step, threads=threads)
        network.eval()
        inference = timed(evaluate, threads=threads) / n
    return {"training": training, "step": step, "inference": inference, "start": start, "measured": True}


def _reckoned(work: Work, rate: float, *, training: bool, adapters: int = 0) -> Speed:
    inference = work.flops / (WORTH * rate)
    speed = Speed(inference, start=_BUILD * work.parameters, measured=False, parameters=work.parameters)
    if not training:
        return speed
    # AdamW reads and writes 28 bytes of a parameter, with some 10 GB a second of a processor's thread
    step = 28 * work.parameters / (1e12 if machine()["gpu"] else 1e10)
    return replace(speed, training=inference * (1 + BACKWARD), step=step, kept_bytes=work.kept_bytes,
                   adapters=adapters)  # fmt: skip


def _measurable(work: Work, seconds: float) -> bool:
    return work.parameters <= MOST_PARAMETERS and 2 * seconds <= MOST_SECONDS


def _meta_network(of: Architecture) -> Network:
    with torch.device("meta"):
        return _assembled(of, create_backbone(of.backbone, seed=0, arguments=of.arguments, pool=of.pool).eval())


def _assembled(of: Architecture, backbone: nn.Module) -> Network:
    return assemble(backbone, of.kind, name=of.backbone, arguments=of.arguments, n_classes=of.n_classes, px=of.px,
                    dropout=0.0, decoder=of.decoder)  # fmt: skip


def _device() -> torch.device:
    return torch.device("cuda" if machine()["gpu"] else "cpu")


def _pixels(n: int, px: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, px, px, 3), dtype=np.uint8)
