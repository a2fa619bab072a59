"""A dataset card: everything about a task that does not depend on the study that uses it."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from raysweep.model import Model
from raysweep.tasks.obtain.spec import Download

CLASSIFICATION_METRICS = (
    "accuracy", "balanced_accuracy", "macro_f1", "auroc", "quadratic_kappa", "mean_patient_accuracy",
    "patient_vote_accuracy", "patient_auroc",
)  # fmt: skip
OBJECT_METRICS = ("object_dice", "object_f1", "pq", "aji")  # of masks that number their objects
SEGMENTATION_METRICS = (
    "dice", "iou", "macro_dice", "macro_iou", "dice_with_background", "iou_with_background",
    "macro_dice_with_background", "macro_iou_with_background", "pixel_accuracy", "mean_pixel_accuracy", "image_dice",
    "image_iou", *OBJECT_METRICS,
)  # fmt: skip
OWN_SET = "patches:"  # begins the root of a task that is made from a patch set of its study
METRICS = {
    "classification": CLASSIFICATION_METRICS,
    "segmentation": SEGMENTATION_METRICS,
}  # by kind


class Licence(Model):
    """Terms of use. Restricted ones must be accepted before a study may use the data."""

    name: str
    restricted: bool = Field(False, description="true: `raysweep datasets prepare --accept-licence` comes first")
    url: str | None = None


class Splits(Model):
    """Which units are tested: as the set says (given, file, repeated), or drawn by unit (holdout, folds, shares)."""

    type: Literal["given", "file", "holdout", "folds", "shares", "repeated"] = Field(
        "holdout", description="given: the layout's own split column; file: a table of splits"
    )
    test: float = Field(0.25, gt=0, lt=1, description="holdout: part of the units that is tested")
    k: int = Field(4, ge=2, description="folds: groups of units, each tested once")
    shares: list[float] = Field(
        [0.97, 0.02, 0.01], min_length=3, max_length=3,
        description="shares: parts of each class's units in train, val and test; the last two are rounded up",
    )  # fmt: skip
    draws: int = Field(1, ge=1, description="shares: so many folds, whose val and test units are all different")
    file: str | None = Field(
        None,
        description="file, repeated: a CSV table below the root or beside the card, with a column unit or image; "
        "or a pickle of lists of images, which is read and not run",
    )
    divisions: list[str] = Field([], description="repeated: the table's columns, one for each division: a fold each")
    splits: dict[str, str] = Field({}, description="file, repeated: a word of the table -> train | val | test")

    @model_validator(mode="after")
    def _complete(self) -> "Splits":
        if self.type in ("file", "repeated") and self.file is None:
            raise ValueError(f"file: {self.type} needs it, the table that says who is on which side")
        if self.type == "repeated" and (len(self.divisions) < 2 or len(set(self.divisions)) < len(self.divisions)):
            raise ValueError("divisions: repeated needs two columns of the table at least, each named once")
        train, val, test = self.shares
        if abs(sum(self.shares) - 1) > 1e-6 or min(train, test) <= 0 or val < 0:
            raise ValueError("shares: the parts of train, val and test add up to 1, and only val may be 0")
        return self

    @property
    def fixed(self) -> bool:
        """Whether the set itself says which images are tested."""
        return self.type in ("given", "file", "repeated")

    def inputs(self) -> dict[str, Any]:
        """What divisions depend on, beside the sides that samples have of their own."""
        keys: dict[str, set[str]] = {"holdout": {"test"}, "folds": {"k"}, "shares": {"shares", "draws"}}
        return self.model_dump(mode="json", include={"type"} | keys.get(self.type, set()))


class Objects(Model):
    """How a predicted mask becomes objects: they are the connected components of all that is not background."""

    connectivity: int = Field(8, description="8: pixels that touch at a corner are connected; 4: they are not")
    min_px: int = Field(1, ge=1, description="components of fewer pixels are no objects; at the scale worked at")

    @field_validator("connectivity")
    @classmethod
    def _four_or_eight(cls, value: int) -> int:
        if value not in (4, 8):
            raise ValueError("a pixel has 4 neighbours, or 8 with those at its corners")
        return value

    @property
    def name(self) -> str:
        """What result rows call it."""
        least = f" of at least {self.min_px} px" if self.min_px > 1 else ""
        return f"{self.connectivity}-connected components{least}"


class Card(Model):
    """One task: what it is, where its files stand, how it is split and scored."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="names folders: no spaces, no slashes")
    kind: Literal["classification", "segmentation"]
    classes: list[str] = Field(min_length=2, description="segmentation: class 0 is the background")
    title: str = ""
    source: str = Field(description="where it comes from and what to cite")
    collection: list[str] = Field(
        [], description="larger sets that its images are from, such as TCGA: a name or a list"
    )
    licence: Licence
    root: str = Field(
        description="its folder, below the study's `data` folder; or patches:NAME, a patch set of the study itself, "
        "with the layout patch_set"
    )
    layout: dict[str, Any] = Field(description="type: a module of tasks/layouts; the rest are its options")
    unit: Literal["patient", "slide", "image", "site"] = Field(description="what is independent")
    splits: Splits = Splits()
    mpp: float | None = Field(None, gt=0, description="um per pixel of the files; none: unknown")
    at_mpp: float | None = Field(None, gt=0, description="um per pixel to work at; default: that of the files")
    px: int = Field(224, ge=16, description="edge of what the network sees, pixels; larger images go in windows")
    metrics: list[str] = Field(min_length=1, description="the first is the task's own; the others are reported too")
    objects: Objects = Field(Objects(), description=f"for {', '.join(OBJECT_METRICS)}")
    n_images: int | None = Field(
        None, description="what the original holds, with what `where` leaves out; a different count is refused"
    )
    n_units: int | None = Field(None, ge=1, description="how many units the original has; another number is refused")
    image_px: tuple[int, int] | None = Field(
        None, description="width and height of every image of the original; one of another size is left out"
    )
    download: Download | None = Field(None, description="where its files are to be had; in no fingerprint")
    notes: str = Field("", description="what a reader of results must know")
    _beside: tuple[Path, ...] = PrivateAttr(())

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

    @field_validator("collection", mode="before")
    @classmethod
    def _one_collection(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("classes")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("every class has a name of its own")
        if any(not name or name != name.strip() for name in value):
            raise ValueError("a class has a name, without spaces around it")
        return value

    @field_validator("layout")
    @classmethod
    def _named(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("type"), str):
            raise ValueError("give layout.type, the name of an on-disk layout")
        return value

    @property
    def own_set(self) -> str:
        """The patch set of the study itself that the task is made from; empty where its files stand below `data`."""
        return self.root.removeprefix(OWN_SET).partition("/")[0] if self.root.startswith(OWN_SET) else ""

    @property
    def metric(self) -> str:
        """The task's own: searches aim at it, and it is compared unless a study names another."""
        return self.metrics[0]

    @property
    def beside(self) -> tuple[Path, ...]:
        """Where tables beside the card are looked for. No part of the card: what was read of them is in its task."""
        return self._beside

    def found_in(self, *folders: Path) -> "Card":
        """The same card, with the folders that its tables may stand in."""
        card = self.model_copy()
        card._beside = folders
        return card

    @model_validator(mode="after")
    def _metrics_fit(self) -> "Card":
        known = METRICS[self.kind]
        for metric in self.metrics:
            if metric not in known:
                raise ValueError(f"metrics: {metric}: a {self.kind} task is scored by some of {', '.join(known)}")
        if len(set(self.metrics)) != len(self.metrics):
            raise ValueError("metrics: every metric is listed once")
        if self.own_set and self.layout["type"] != "patch_set":
            raise ValueError(f"root: {self.root} is a patch set of the study: its layout.type is patch_set")
        if self.at_mpp and not self.mpp:
            raise ValueError("at_mpp needs mpp, the scale of the files")
        return self
