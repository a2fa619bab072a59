"""What a checkpoint is made from: one entry under `checkpoints:` in a study."""

from typing import Any, Literal

from pydantic import Field, model_validator

from raysweep.model import Model


class CheckpointSpec(Model):
    """One checkpoint: an init alone, or an init trained further by a method on a patch set."""

    backbone: str | None = Field(None, description="timm model name; inherited when init is a checkpoint")
    init: str = Field("random", description="random | timm | hf-hub:NAME | a .safetensors or .pth file | a checkpoint")
    method: str | None = Field(None, description="pretraining objective; none: the init itself is the checkpoint")
    options: dict[str, Any] = Field({}, description="the method's own options")
    patches: str | list[str] | dict[str, float] | None = Field(
        None,
        description="a patch set or labelled set, or the folder of another study's patch set; some methods take "
        "several: a list, or names with their shares of a batch",
    )
    leave_out: Literal["each"] | list[list[str]] | None = Field(
        None, description="train without the task that is tested: groups of sources that leave together, or each alone"
    )
    join: Literal["target"] | None = Field(
        None, description="target: the train split of the task that is tested joins the sources"
    )
    epochs: int = Field(1, ge=1, description="passes over the patch set")
    batch: int = Field(256, ge=2, description="patches per step, over all workers")
    px: int | None = Field(None, ge=16, description="edge of what the network sees, pixels; default: the patch's")
    optimizer: Literal["adamw", "sgd"] | None = Field(None, description="default: the method's")
    lr: float | None = Field(None, gt=0, description="peak learning rate; default: the method's, scaled by batch / 256")
    weight_decay: float | None = Field(None, ge=0, description="default: the method's")
    warmup: float = Field(0.1, ge=0, lt=1, description="part of the steps spent in linear warm-up")
    seeds: int = Field(1, ge=1, description="independent pretrainings; repeats take them in turn")
    licence: str | None = Field(None, description="licence of the weights, when they come from a file")
    grid: dict[str, list[Any]] = Field({}, description="one named checkpoint per point of this grid of keys or options")

    @property
    def sources(self) -> list[str]:
        """What it draws its patches from."""
        return [self.patches] if isinstance(self.patches, str) else list(self.patches or [])

    @property
    def weights(self) -> dict[str, float]:
        """The share of each source in a batch, beside the others'; 1 where none is given."""
        return dict(self.patches) if isinstance(self.patches, dict) else dict.fromkeys(self.sources, 1.0)

    @model_validator(mode="after")
    def _whole(self) -> "CheckpointSpec":
        if self.method and not self.patches:
            raise ValueError("a method needs patches: name a patch set")
        for name, weight in self.weights.items():
            if not weight > 0:
                raise ValueError(f"patches.{name}: a source has a share above 0 (given: {weight:g}); or leave it out")
        if self.patches and not self.method:
            raise ValueError("patches are given but no method: name one (supervised, simclr, ...)")
        if (self.leave_out or self.join) and not self.method:
            raise ValueError("leave_out and join say what a method is trained on: name a method")
        if self.seeds > 1 and not self.method:
            raise ValueError("seeds are independent pretrainings, and without a method there is none: leave seeds out")
        return self
