"""What a checkpoint is made from: one entry under `checkpoints:` in a study."""

from typing import Any, Literal

from pydantic import Field, model_validator

from raysweep.backbones.given import Given
from raysweep.model import Model

Choose = Literal["own_val", "rank_others", "screen"]


class ProbeSpec(Model):
    """What a pretraining is watched by: figures on a labelled set, which decide nothing."""

    task: str = Field(description="classification task of the study; of its images, the train split alone")
    every: int = Field(5, ge=1, description="epochs from probe to probe")


class CheckpointSpec(Given):
    """One checkpoint: an init alone, or an init trained further by a method on a patch set."""

    backbone: str | None = Field(None, description="timm model name; inherited when init is a checkpoint")
    init: str = Field(
        "random", description="random | timm | published:NAME | hf-hub:NAME | a file of weights | a checkpoint"
    )
    method: str | None = Field(None, description="pretraining objective; none: the init itself is the checkpoint")
    options: dict[str, Any] = Field({}, description="the method's own options")
    preset: str | None = Field(None, description="settings of a published study for the method: kawai2023, mormont2020")
    patches: str | list[str] | dict[str, float] | None = Field(
        None, description="patch sets, their folders, or labelled sets by card: a name, a list, or names with weights"
    )
    leave_out: Literal["each"] | list[list[str]] | None = Field(
        None, description="train without the task that is tested: groups of sources that leave together, or each alone"
    )
    join: Literal["target"] | None = Field(
        None, description="target: the train split of the task that is tested joins the sources"
    )
    epochs: int | None = Field(None, ge=1, description="passes over the sources; default: the method's")
    steps: int | None = Field(None, ge=1, description="steps, in place of epochs")
    batch: int = Field(256, ge=2, description="patches per step, over all workers")
    accumulate: int = Field(1, ge=1, description="parts that each step's batch is worked on in, to need less memory")
    px: int | None = Field(None, ge=16, description="edge of what the network sees, pixels; default: the patch's")
    optimizer: Literal["adamw", "sgd", "lars"] | None = Field(None, description="default: the method's")
    lr: float | None = Field(None, gt=0, description="peak learning rate; default: the method's, scaled by the batch")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="what follows the warm-up")
    warmup: float | None = Field(
        None, ge=0, lt=1, description="part of the steps in linear warm-up; default: the method's"
    )
    weight_decay: float | None = Field(None, ge=0, description="default: the method's")
    weight_decay_end: float | None = Field(None, ge=0, description="what a cosine leads to; default: the method's")
    clip: float | None = Field(None, gt=0, description="largest norm of the gradient; default: the method's")
    batch_norm: Literal["keep", "freeze", "reset", "reset_affine", "recalibrate"] | None = Field(
        None,
        description="the backbone's statistics: kept; kept and used in training; before training reset, with scale and "
        "shift, or those of the sources with unchanged outputs. Default: the method's",
    )
    hed: float = Field(
        0.0, ge=0, le=0.5, description="strength of a random shift of H&E stains in every view, 0.05 is mild"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on a GPU")
    probe: ProbeSpec | None = Field(
        None, description="linear probe and nearest neighbours while it trains: shown, and in no fingerprint"
    )
    seeds: int = Field(1, ge=1, description="independent pretrainings; repeats take them in turn")
    licence: str | None = Field(None, description="licence of the weights, when they come from a file")
    grid: dict[str, list[Any]] = Field({}, description="one named checkpoint per point of this grid of keys or options")
    choose: Choose | None = Field(
        None,
        description="which point of the grid is tested, in the grid's one row of the tables: the best on the repeat's "
        "own val, by average rank on the other tasks, or by transfer.screen before any search; none: each has a row",
    )
    choose_by: str | None = Field(
        None,
        description="rank_others: the frozen protocol whose values rank the points for every protocol, so that others "
        "search the chosen one alone; default: each protocol ranks for itself",
    )

    @property
    def sources(self) -> list[str]:
        """What it draws its patches from."""
        return [self.patches] if isinstance(self.patches, str) else list(self.patches or [])

    def weight_of(self, source: str) -> float | None:
        """How often a source is drawn beside the others; None: the method's own rule. A target that joins has 1."""
        return self.patches.get(source, 1.0) if isinstance(self.patches, dict) else None

    @model_validator(mode="after")
    def _whole(self) -> "CheckpointSpec":
        if self.method and not self.patches:
            raise ValueError("a method needs patches: name a patch set")
        if self.patches and not self.method:
            raise ValueError("patches are given but no method: name one (supervised, simclr, ...)")
        if (self.leave_out or self.join) and not self.method:
            raise ValueError("leave_out and join say what a method is trained on: name a method")
        if self.choose and not self.grid:
            raise ValueError("choose takes one point of a grid: give a grid, or leave choose out")
        if self.choose_by and self.choose != "rank_others":
            raise ValueError("choose_by says what ranks the points under choose: rank_others; leave it out")
        if self.epochs and self.steps:
            raise ValueError("epochs and steps are both given; keep one")
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate: a batch of {self.batch} cannot be cut into {self.accumulate} equal parts")
        for name, weight in self.patches.items() if isinstance(self.patches, dict) else ():
            if not weight > 0:
                raise ValueError(f"patches.{name}: a weight is above 0 (given: {weight:g}); or leave the source out")
        if self.preset and not self.method:
            raise ValueError("preset fills in the settings of a method: name a method")
        if self.probe and not self.method:
            raise ValueError("probe looks on while a method trains: name a method")
        if self.seeds > 1 and not self.method:
            raise ValueError("seeds are independent pretrainings, and without a method there is none: leave seeds out")
        return self
