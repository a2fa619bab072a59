"""How checkpoints are transferred to tasks: the `transfer:` key of a study. The same for every checkpoint."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.transfer.budget import BUDGETS, auto_steps
from raysweep.transfer.decoders import DecoderChoice, check_name

Adapt = Literal["auto", "full", "lora"]
Select = Literal["val_metric", "val_loss", "last"]
Sampler = Literal["tpe", "random", "grid", "qmc", "cmaes", "gp"]
EarlyStopping = Literal["asha", "hyperband", "median", "none"]
VAL_UNITS_FOR_METRIC = 10  # with fewer units in val the metric has too few values to tell settings apart


class ScreenSpec(Model):
    """Which checkpoints are searched at all."""

    protocol: str = Field(
        "linear", description="frozen protocol by whose cross-validation, inside the draws, checkpoints are ranked"
    )
    keep: int = Field(ge=1, description="checkpoints of each task that go on, beside the baseline")


class TransferSpec(Model):
    """Protocols, label fractions and the budget of every cell."""

    protocols: list[str] | dict[Literal["classification", "segmentation"], list[str]] = Field(
        ["finetune"], description="protocols for every task, or a list per kind of task"
    )
    fractions: list[float] = Field([1.0], description="label fractions, each in (0, 1]")
    fraction_of: Literal["images", "units"] = Field("images", description="what a fraction counts")
    screen: ScreenSpec | None = Field(
        None, description="search only the checkpoints that a frozen protocol finds best, for each task"
    )
    val: float = Field(0.2, gt=0, lt=1, description="part of a fraction held out to choose settings by")
    repeats: int = Field(
        6, ge=1, description="repetitions of every cell, each with its own draw, pretraining seed, search and final"
    )
    search: Literal["each", "once"] = Field(
        "each", description="once: repeat 0's search serves all, and results are conditional on that one search"
    )
    budget: Literal["light", "full"] | None = Field(
        None, description="a word for repeats, trials, steps and evaluations that are not given: light for a first "
        "look, full for what is to be published",
    )  # fmt: skip
    trials: int = Field(8, ge=1, description="settings tried in each repeat (in each fold, for folded tasks)")
    sampler: Sampler = Field(
        "tpe", description="who chooses settings after the first ones, which are the same for all; grid: from the first"
    )
    early_stopping: EarlyStopping = Field("asha", description="which trials are stopped before their end")
    steps: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        "auto", description="training steps of a trial, the same for every fraction; auto: 500 for a task with up to "
        "5,000 training images, growing with the square root beyond; none: `epochs` alone",
    )  # fmt: skip
    epochs: float | None = Field(
        None, gt=0, description="passes over a draw's training images; with `steps`, whichever ends first"
    )
    evaluations: int = Field(
        8, ge=1, description="evaluations on val during a trial, each at 1.41 times the steps of the one before"
    )
    val_images: int = Field(
        1000, ge=1, description="images of val that are scored at each evaluation: a fixed, stratified part of them"
    )
    adapt: Adapt = Field(
        "auto", description="what finetune trains of a backbone: all, or adapters (lora); auto: lora above 300 million "
        "parameters",
    )  # fmt: skip
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
    keep_models: Literal["none", "first"] = Field(
        "first", description="whose trained models stay on disk, for `raysweep export` and `predict`: first: repeat 0's"
    )
    parallel_per_repeat: int = Field(1, ge=1, description="above 1 the order of results matters: not reproducible")

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, values: Any) -> Any:
        """Who names epochs and no steps means epochs; a budget gives the keys that nobody has."""
        if isinstance(values, dict):
            if values.get("epochs") is not None and "steps" not in values:
                values = values | {"steps": None}
            if isinstance(budget := values.get("budget"), str):
                values = BUDGETS.get(budget, {}) | values
        return values

    @model_validator(mode="after")
    def _some_budget(self) -> Self:
        if self.steps is None and self.epochs is None:
            raise ValueError("give steps, epochs, or both")
        return self

    @field_validator("protocols")
    @classmethod
    def _each_once(cls, value: list[str] | dict[str, list[str]]) -> list[str] | dict[str, list[str]]:
        for names in value.values() if isinstance(value, dict) else [value]:
            if len(set(names)) < len(names):
                raise ValueError("name every protocol once")
        return value

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

    def steps_for(self, pool: int, train: int) -> int:
        """Training steps where the task has `pool` images to train on at fraction 1, and `train` of them are used."""
        limits = []
        if self.steps is not None:
            limits.append(auto_steps(pool) if self.steps == "auto" else self.steps)
        if self.epochs is not None:
            limits.append(max(1, math.ceil(self.epochs * train / self.batch)))
        return min(limits)

    def select_by(self, n_val_units: int) -> Select:
        """What chooses settings and weights where val has so many units."""
        return "val_loss" if self.select == "val_metric" and n_val_units < VAL_UNITS_FOR_METRIC else self.select
