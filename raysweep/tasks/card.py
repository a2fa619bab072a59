"""A dataset card: everything about a task that does not depend on the study that uses it."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from raysweep.model import Model

CLASSIFICATION_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "auroc")
SEGMENTATION_METRICS = ("dice", "iou", "macro_dice", "macro_iou")


class Licence(Model):
    """Terms of use. Restricted ones must be accepted before a study may use the data."""

    name: str
    restricted: bool = Field(False, description="true: `raysweep datasets prepare --accept-licence` comes first")
    url: str | None = None


class Splits(Model):
    """Which units are tested. `given` takes the layout's own split column; the others go by unit."""

    type: Literal["given", "holdout", "folds"] = "holdout"
    test: float = Field(0.25, gt=0, lt=1, description="holdout: part of the units that is tested")
    k: int = Field(4, ge=2, description="folds: groups of units, each tested once")


class Card(Model):
    """One task: what it is, where its files stand, how it is split and scored."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="names folders: no spaces, no slashes")
    kind: Literal["classification", "segmentation"]
    classes: list[str] = Field(min_length=2, description="segmentation: class 0 is the background")
    title: str = ""
    source: str = Field(description="where it comes from and what to cite")
    licence: Licence
    root: str = Field(description="its folder, below the study's `data` folder")
    layout: dict[str, Any] = Field(description="type: a module of tasks/layouts; the rest are its options")
    unit: Literal["patient", "slide", "image"] = Field(description="what is independent")
    splits: Splits = Splits()
    mpp: float | None = Field(None, gt=0, description="um per pixel of the files; none: unknown")
    at_mpp: float | None = Field(None, gt=0, description="um per pixel to work at; default: that of the files")
    px: int = Field(224, ge=16, description="edge of what the network sees, pixels; larger images go in windows")
    metrics: list[str] = Field(min_length=1, description="the first is the task's own; the others are reported too")
    n_images: int | None = Field(None, description="what the original holds; a different count is refused")
    notes: str = Field("", description="what a reader of results must know")

    @model_validator(mode="before")
    @classmethod
    def _one_metric(cls, data: Any) -> Any:
        """`metric: dice` is `metrics: [dice]`."""
        if not isinstance(data, dict) or "metric" not in data:
            return data
        if "metrics" in data:
            raise ValueError("metric and metrics are both given; keep metrics")
        return {k: v for k, v in data.items() if k != "metric"} | {"metrics": [data["metric"]]}

    @model_validator(mode="before")
    @classmethod
    def _ignore(cls, data: Any) -> Any:
        """`ignore: [255]` is `layout: {masks: {ignore: [255]}}`."""
        if not isinstance(data, dict) or "ignore" not in data:
            return data
        layout = data.get("layout")
        masks = layout.get("masks", {}) if isinstance(layout, dict) else {}
        if data.get("kind") != "segmentation" or not isinstance(layout, dict) or not isinstance(masks, dict):
            raise ValueError("ignore: names values of masks, which only a segmentation task has")
        if "ignore" in masks:
            raise ValueError("ignore and layout.masks.ignore are both given; keep one")
        rest = {key: value for key, value in data.items() if key != "ignore"}
        return {**rest, "layout": {**layout, "masks": {**masks, "ignore": data["ignore"]}}}

    @field_validator("classes")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("every class has a name of its own")
        return value

    @field_validator("layout")
    @classmethod
    def _named(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("type"), str):
            raise ValueError("give layout.type, the name of an on-disk layout")
        return value

    @property
    def metric(self) -> str:
        """The task's own: searches aim at it, and it is compared unless a study names another."""
        return self.metrics[0]

    @model_validator(mode="after")
    def _metrics_fit(self) -> "Card":
        known = CLASSIFICATION_METRICS if self.kind == "classification" else SEGMENTATION_METRICS
        for metric in self.metrics:
            if metric not in known:
                raise ValueError(f"metrics: {metric}: a {self.kind} task is scored by some of {', '.join(known)}")
        if len(set(self.metrics)) != len(self.metrics):
            raise ValueError("metrics: every metric is listed once")
        if self.at_mpp and not self.mpp:
            raise ValueError("at_mpp needs mpp, the scale of the files")
        return self
