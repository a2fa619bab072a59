"""Fine-tuning: backbone and a new head (classification) or U-Net decoder (segmentation), trained together."""

from pydantic import Field

from raysweep.model import Model
from raysweep.transfer.job import Job, Protocol, Run
from raysweep.transfer.protocols import register


class FinetuneSettings(Model):
    """AdamW with a linear warm-up and a cosine to zero."""

    lr: float = Field(gt=0, description="peak learning rate of the backbone")
    weight_decay: float = Field(1e-4, ge=0, description="on weights of two or more dimensions")
    head_lr_factor: float = Field(1.0, gt=0, description="the new head or decoder learns this much faster")
    augment: float = Field(0.5, ge=0, le=1, description="strength of the colour jitter; flips and turns are always on")


class FinetuneClassificationSettings(FinetuneSettings):
    dropout: float = Field(0.0, ge=0, lt=1, description="before the new head")


@register
class Finetune(Protocol):
    name = "finetune"
    kinds = frozenset({"classification", "segmentation"})
    frozen = False
    adaptation = "full"
    budget = frozenset({"trials", "val", "steps", "evaluations", "batch", "select", "early_stopping"})

    def settings(self, kind: str) -> type[FinetuneSettings]:
        return FinetuneClassificationSettings if kind == "classification" else FinetuneSettings

    def start(self, job: Job) -> Run:
        from raysweep.transfer.finetune_run import FinetuneRun  # torch

        return FinetuneRun(job)
