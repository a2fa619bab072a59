"""How checkpoints are transferred to tasks: the `transfer:` key of a study. The same for every checkpoint."""

from typing import Any, Literal

from pydantic import Field, field_validator

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.transfer.decoders import DecoderChoice, check_name

Select = Literal["val_metric", "val_loss", "last"]
Sampler = Literal["tpe", "random", "grid", "qmc", "cmaes", "gp"]
EarlyStopping = Literal["asha", "hyperband", "median", "none"]
VAL_UNITS_FOR_METRIC = 10  # with fewer units in val the metric has too few values to tell settings apart


class TransferSpec(Model):
    """Protocols, label fractions and the budget of every cell."""

    protocols: list[str] | dict[Literal["classification", "segmentation"], list[str]] = Field(
        ["finetune"], description="protocols for every task, or a list per kind of task"
    )
    fractions: list[float] = Field([1.0], description="label fractions, each in (0, 1]")
    fraction_of: Literal["images", "units"] = Field("images", description="what a fraction counts")
    val: float = Field(0.2, gt=0, lt=1, description="part of a fraction held out to choose settings by")
    repeats: int = Field(
        6, ge=1, description="repetitions of every cell, each with its own draw, pretraining seed, search and final"
    )
    search: Literal["each", "once"] = Field(
        "each", description="once: repeat 0's search serves all, and results are conditional on that one search"
    )
    trials: int = Field(8, ge=1, description="settings tried in each repeat (in each fold, for folded tasks)")
    sampler: Sampler = Field(
        "tpe", description="who chooses settings after the first ones, which are the same for all; grid: from the first"
    )
    early_stopping: EarlyStopping = Field("asha", description="which trials are stopped before their end")
    steps: int = Field(500, ge=1, description="training steps of a trial; the same for every fraction")
    evaluations: int = Field(5, ge=1, description="evaluations on val during a trial, evenly spaced")
    batch: int = Field(32, ge=2, description="images per step")
    select: Select = Field(
        "val_metric",
        description="which evaluation's weights are kept, and what the search aims at; below "
        f"{VAL_UNITS_FOR_METRIC} units in val, val_metric gives way to val_loss",
    )
    spaces: dict[str, dict[str, Any] | str] = Field(
        {},
        description="search spaces by name (such as finetune_classification) that replace the shipped ones; or the "
        "name of another one that ships, such as mormont2020",
    )
    decoder: DecoderChoice = Field(
        "auto",
        description="of segmentation: a name, or {type: name, option: value}; auto: unet where every checkpoint has a "
        "pyramid of features, else light for all: a task has one decoder",
    )
    parallel_per_repeat: int = Field(1, ge=1, description="above 1 the order of results matters: not reproducible")

    @field_validator("fractions")
    @classmethod
    def _fractions(cls, value: list[float]) -> list[float]:
        if not value or any(not 0 < f <= 1 for f in value) or len(set(value)) != len(value):
            raise ValueError("give distinct fractions, each above 0 and at most 1")
        return sorted(value)

    @field_validator("decoder")
    @classmethod
    def _known(cls, value: DecoderChoice) -> DecoderChoice:
        if value != "auto":
            try:
                check_name(value)
            except RequestError as error:
                raise ValueError(str(error)) from error
        return value

    def protocols_for(self, kind: str) -> list[str]:
        """The protocols asked for on tasks of a kind."""
        if isinstance(self.protocols, dict):
            return list(self.protocols.get(kind, []))  # type: ignore[call-overload]
        return list(self.protocols)

    def select_by(self, n_val_units: int) -> Select:
        """What chooses settings and weights where val has so many units."""
        return "val_loss" if self.select == "val_metric" and n_val_units < VAL_UNITS_FOR_METRIC else self.select
