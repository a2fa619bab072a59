"""What a pretraining costs on this machine for each of its patches: measured in a few steps, or reckoned."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from raysweep.backbones.create import create_backbone
from raysweep.backbones.given import Pool
from raysweep.backbones.machine import MOST_SECONDS, batch_for, machine, seconds_of, timed, torch_threads
from raysweep.errors import RequestError
from raysweep.memory import keep_memory
from raysweep.patches.codec import decode, encode_jpeg
from raysweep.patches.recipe import Recipe
from raysweep.patches.views import crop_views
from raysweep.pretrain.batch import Batch
from raysweep.pretrain.batches import Painter
from raysweep.pretrain.inputs import Settings, make_method
from raysweep.pretrain.loop import build_module
from raysweep.pretrain.method import Method, SourceClasses, TrainingProgress
from raysweep.pretrain.optimiser import Optimiser
from raysweep.pretrain.parallel import shared_step
from raysweep.pretrain.reader import Prepared
from raysweep.transfer.speed import MOST_PARAMETERS, WORTH
from raysweep.transfer.speed_record import PretrainingSpeed
from raysweep.transfer.work import BACKWARD, count_work

_LARGEST = 64  # patches to measure with, where a method wants its batch to have a divisor
_PROGRESS = TrainingProgress(1, 100, 0, 10)
_SOURCES = [SourceClasses("drawn", ("a", "b"))]
_MEAN, _STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def measure_pretraining(
    settings: Settings, backbone: str, arguments: Mapping[str, Any], pool: Pool | None, patch_px: int, *,
    rate: float, threads: int, quick: bool = False,
) -> PretrainingSpeed:  # fmt: skip
    """The speed of a pretraining on patches of an edge, one worker's.

    rate: of this machine (`flops_per_second`); quick: measure no network. What is done to the pictures is always
    measured: it is short, and depends on the method.
    """
    method = make_method(settings.method, settings.options)
    recipes = settings.recipes(settings.px or patch_px)
    with torch_threads(threads):
        pictures = _picture_seconds(recipes, patch_px, threads)
        with torch.device("meta"):
            network = create_backbone(backbone, seed=0, arguments=arguments, pool=pool)
        edge = max(recipe.px for recipe in recipes)
        work = count_work(network, lambda n: network(torch.zeros(n, 3, edge, edge, device="meta")))
        # every view through the network and back, and two through another that only looks
        passes = sum((recipe.px / edge) ** 2 for recipe in recipes) * (1 + BACKWARD) + min(2, len(recipes)) - 1
        compute = passes * work.flops / (WORTH * rate)
        large = work.parameters > MOST_PARAMETERS / 2 or 2 * compute > MOST_SECONDS
        if quick or large:
            step = 28 * work.parameters / (1e12 if machine()["gpu"] else 1e10)
            return PretrainingSpeed(pictures + compute, step, measured=False)
        return _measured(method, settings, create_backbone(backbone, seed=0, arguments=arguments, pool=pool), recipes,
                         max(2, batch_for(compute)), pictures, threads)  # fmt: skip


def _measured(
    method: Method, settings: Settings, network: torch.nn.Module, recipes: list[Recipe], n: int, pictures: float,
    threads: int,
) -> PretrainingSpeed:  # fmt: skip
    device = torch.device("cuda" if machine()["gpu"] else "cpu")
    if device.type == "cpu":
        keep_memory()  # as in the loop
    module = build_module(method, network, _SOURCES, 0).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.train()
    optimiser = Optimiser(method, module, settings)
    half = {"auto": device.type == "cuda", "float32": False, "bfloat16": True}[settings.precision]
    step_of = shared_step(method, module, device, 1, half=half, compile=False)
    while True:
        batch = Painter(recipes, 0, _MEAN, _STD, device).batch(_prepared(recipes, n), 0)

        def train(batch: Batch = batch) -> None:
            optimiser.torch.zero_grad(set_to_none=True)
            method.before_step(module, _PROGRESS)
            step_of(batch, _PROGRESS)[0].backward()
            method.after_backward(module, _PROGRESS)

        def step() -> None:
            optimiser.step()
            method.after_step(module, _PROGRESS)

        try:
            seconds = timed(train, threads=threads)
            return PretrainingSpeed(pictures + seconds / n, seconds_of(step, threads=threads))
        except RequestError:  # it wants a batch that can be divided
            if n >= _LARGEST:
                raise
            n = 1 << n.bit_length()


def _prepared(recipes: list[Recipe], n: int) -> Prepared:
    crops = [torch.full((n, 3, recipe.px, recipe.px), 128, dtype=torch.uint8) for recipe in recipes]
    zeros = torch.zeros(n, dtype=torch.int64)
    return Prepared(crops, zeros, zeros, np.arange(n, dtype=np.uint64), [])


def _picture_seconds(recipes: list[Recipe], patch_px: int, threads: int) -> float:
    """Of one patch: decoded, and every view of it cropped and coloured. Colours are the GPU's where there is one."""
    rng = np.random.default_rng(0)
    noise = rng.normal(180, 25, (patch_px // 4 + 1, patch_px // 4 + 1, 3)).repeat(4, 0).repeat(4, 1)
    encoded = encode_jpeg(noise[:patch_px, :patch_px].clip(0, 255).astype(np.uint8), 90)
    n = 4
    keys = list(range(n))

    def prepare() -> None:
        images = [decode(encoded) for _ in keys]
        for view, recipe in enumerate(recipes):
            crop_views(images, keys, recipe, seed=0, epoch=0, view=view)

    painter = Painter(recipes, 0, _MEAN, _STD, torch.device("cuda" if machine()["gpu"] else "cpu"))
    made = _prepared(recipes, n)
    return (timed(prepare, threads=threads) + timed(lambda: painter.batch(made, 0), threads=threads)) / n
