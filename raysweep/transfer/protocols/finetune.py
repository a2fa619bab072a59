"""Fine-tuning: a backbone, whole or by adapters, trained together with a new head or decoder."""

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from raysweep.model import Model
from raysweep.transfer.job import Job, Protocol, Run
from raysweep.transfer.protocols import register
from raysweep.transfer.spec import Adapt


class _Settings(Model):
    """AdamW with a linear warm-up and a cosine to zero."""

    lr: float = Field(gt=0, description="peak learning rate of the backbone")
    weight_decay: float = Field(
        1e-4, ge=0, description="on weights of two or more dimensions that timm does not exempt"
    )
    head_lr_factor: float = Field(1.0, gt=0, description="the new head or decoder learns this much faster")
    augment: float = Field(0.5, ge=0, le=1, description="strength of the colour jitter; flips and turns are always on")


class _Classification(Model):
    dropout: float = Field(0.0, ge=0, lt=1, description="before the new head")
    head: Literal["new", "probe"] = Field(
        "new", description="what the new head starts as: new: next to nothing; probe: a logistic regression on the "
        "backbone's features of the training images (LP-FT)",
    )  # fmt: skip


class FinetuneSettings(_Settings):
    """All weights are trained."""

    layer_decay: float | None = Field(
        None, gt=0, le=1, description="each layer learns this much slower than the next; none: 0.75 for plain vision "
        "transformers, 1 for other backbones",
    )  # fmt: skip
    freeze: int = Field(0, ge=0, description="the first stages (of vision transformers: blocks) that stay as they are")
    batch_norm: Literal["train", "freeze"] = Field(
        "train", description="freeze: the backbone's batch norms keep the statistics of their pretraining"
    )


class FinetuneClassificationSettings(_Classification, FinetuneSettings):
    pass


class LoraSettings(_Settings):
    """The backbone stays as it is; adapters in its linear layers are trained."""

    rank: int = Field(8, ge=1, description="of each adapter")
    scale: float = Field(2.0, gt=0, description="of what adapters add; alpha / rank")


class LoraClassificationSettings(_Classification, LoraSettings):
    pass


_SETTINGS: dict[tuple[str, str], type[_Settings]] = {
    ("full", "classification"): FinetuneClassificationSettings,
    ("full", "segmentation"): FinetuneSettings,
    ("lora", "classification"): LoraClassificationSettings,
    ("lora", "segmentation"): LoraSettings,
}


@register
class Finetune(Protocol):
    name = "finetune"
    kinds = frozenset({"classification", "segmentation"})
    frozen = False
    adaptation = "full"
    budget = frozenset(
        {"trials", "val", "val_images", "steps", "epochs", "evaluations", "batch", "select", "early_stopping"}
    )

    def settings(self, kind: str) -> type[_Settings]:
        return self.settings_of(kind, self.adaptation)

    def settings_of(self, kind: str, adaptation: str) -> type[_Settings]:
        return _SETTINGS[adaptation, kind]

    def adaptation_of(self, adapt: Adapt, is_large: Callable[[], bool]) -> str:
        if adapt == "auto":  # all weights of a large one need 16 bytes each, and gain little over adapters
            return "lora" if is_large() else "full"
        return adapt

    def start(self, job: Job) -> Run:
        from raysweep.transfer.finetune_run import FinetuneRun  # torch

        return FinetuneRun(job)
