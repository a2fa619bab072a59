"""Where the labels of patches come from."""

import re
from collections import Counter
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from raysweep.model import Model, word

IGNORE = "ignore"  # under `values`: the values that are no class
_RULE = re.compile(r"area\s*>=\s*(\d*\.?\d+)")

_RANGE = re.compile(r"(\d{1,5})\s*-\s*(\d{1,5})")
_MOST_VALUE = 2**16 - 1

_SOURCES_OF = {  # a key that is not here is for every source
    "rule": ("regions", "mask"),
    "classes": ("slide", "regions", "points"),
    "subtract": ("regions",),
    "ignore": ("slide", "regions", "points"),
    "background": ("regions", "points", "mask"),
    "background_from": ("regions", "points", "mask"),
    "samples": ("points",),
    "jitter": ("points",),
    "box": ("points",),
}


class LabelSpec(Model):
    """`labels:` of a patch set.

    - `slide`: the slide table's column `label`, through `classes`.
    - `regions`: annotated areas; what `subtract` names is cut out of them. By `any`, points label too.
    - `points`: patches are cut around annotated objects, and `background` patches come from the grid, wherever they
      touch no annotation, one of `ignore` included. The grid's `stride` is that of the background.
    - `mask`: the pixels of mask slides, whose integers `values` names.

    A class claims a patch when it covers the patch's centre (`center`), any of it (`any`) or at least that fraction of
    it (`area >= 0.1`). Of several that claim it the one that covers most wins, then the first in `classes`. The class
    `background` yields to every other; it gets the patches that none claims.

    A name or a value that no key names makes its slide fail.
    """

    source: Literal["slide", "regions", "points", "mask"] = Field("slide", description="what the labels are drawn from")
    rule: str | None = Field(None, description="regions, mask: center, any, or area >= a fraction of the patch")
    classes: dict[str, list[str]] = Field(
        {}, description="class -> names in the annotations (slide: labels in the table), in the order of the class ids"
    )
    subtract: list[str] = Field([], description="regions: names of areas that are cut out of all others")
    ignore: list[str] = Field([], description="annotation names (source slide: labels) to ignore")
    background: str | None = Field(
        None,
        description="class of patches that no class claims; null: dropped. Id 0 unless `classes` or `values` has it",
    )
    background_from: dict[str, str | list[str]] = Field(
        {}, description="columns of the slide table and their values: only such slides give background patches"
    )
    per_class: int | None = Field(None, ge=1, description="at most this many patches of a class from a slide, by seed")
    absent: Literal["fail", "skip", "background"] = Field(
        "fail", description="a slide without annotations or mask: fails, gives no patch, or is all background"
    )
    samples: int = Field(1, ge=1, le=10_000, description="points: patches around each object")
    jitter: float = Field(0.0, ge=0, lt=0.5, description="points: largest shift from the object's centre, in edges")
    box: bool = Field(False, description="points: the square around the object's bounding box in place of `um`")
    values: dict[str, list[int] | dict[str, list[int]]] = Field(
        {},
        description="class -> values in mask slides, single or as in 1-999, those of no class under `ignore`; "
        "with `values_by`: value of that column -> class -> values",
    )
    values_by: str | None = Field(None, description="column of the slide table that tells which `values` hold")
    channel: Literal["red", "green", "blue"] = Field("red", description="channel of mask slides that holds the values")
    store_mask: bool = Field(
        False, description="also store the class of each pixel, from mask slides where `values` is given, else regions"
    )

    @property
    def least_area(self) -> float | None:
        """The fraction in `area >= fraction`, in (0, 1]; None for the other rules."""
        found = _RULE.fullmatch(self.rule or "")
        return float(found[1]) if found else None

    @property
    def reads_masks(self) -> bool:
        """Whether slides need a mask slide."""
        return self.source == "mask" or (self.store_mask and bool(self.values))

    @property
    def reads_annotations(self) -> bool:
        """Whether slides need an annotation file."""
        return self.source in ("regions", "points")

    @field_validator("rule")
    @classmethod
    def _known_rule(cls, value: str | None) -> str | None:
        if value is None or value in ("center", "any"):
            return value
        found = _RULE.fullmatch(value)
        if found is None or not 0 < float(found[1]) <= 1:
            raise ValueError("is none of center, any and area >= a fraction above 0 and at most 1, as in area >= 0.1")
        return value

    @field_validator("classes", mode="before")
    @classmethod
    def _class_names(cls, value: Any) -> Any:
        return _words_by_name(value, "classes")

    @field_validator("subtract", "ignore", mode="before")
    @classmethod
    def _names(cls, value: Any, info: ValidationInfo) -> Any:
        return _words(value, info.field_name or "")

    @field_validator("background_from", mode="before")
    @classmethod
    def _filters(cls, value: Any) -> Any:
        return _words_by_name(value, "background_from")

    @field_validator("values", mode="before")
    @classmethod
    def _value_names(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            str(k): {str(name): _values(v) for name, v in x.items()} if isinstance(x, dict) else _values(x)
            for k, x in value.items()
        }

    @model_validator(mode="after")
    def _sensible(self) -> "LabelSpec":
        for key, sources in _SOURCES_OF.items():
            if self.source not in sources and getattr(self, key) != type(self).model_fields[key].get_default():
                raise ValueError(f"`{key}` is not for the source {self.source}, only for {', '.join(sources)}")
        if self.source in ("regions", "mask") and self.rule is None:
            raise ValueError(f"the source {self.source} needs a `rule`: center, any or area >= a fraction")
        if self.source in ("regions", "points") and not any(self.classes.values()):
            raise ValueError(f"the source {self.source} needs `classes`: class -> names in the annotations")
        self._check_names()
        self._check_background()
        self._check_values()
        if self.samples > 1 and (self.box or self.jitter == 0):
            raise ValueError("`samples` above 1 needs `jitter`, and no `box`: they would be the same patch")
        if self.box and self.jitter:
            raise ValueError("`jitter` and `box` exclude each other: a box is where its object is")
        return self

    def _check_names(self) -> None:
        homes: dict[str, str] = {}
        roles = [(f"classes.{name}", names) for name, names in self.classes.items()]
        for home, names in [*roles, ("subtract", self.subtract), ("ignore", self.ignore)]:
            for name in names:
                if homes.setdefault(name, home) != home:
                    raise ValueError(f"{name} stands in `{homes[name]}` and in `{home}`; keep one")

    def _check_background(self) -> None:
        if self.background_from and self.background is None:
            raise ValueError("`background_from` needs `background`: the class of those patches")
        if self.absent != "fail" and not (self.reads_masks or self.reads_annotations):
            raise ValueError("`absent` is about annotations and masks, and no key reads either")
        if self.absent == "background" and self.background is None:
            raise ValueError("`absent: background` needs `background`: the class of those patches")

    def _check_values(self) -> None:
        if self.source == "mask" and not self.values:
            raise ValueError("the source mask needs `values`: class -> values in the mask")
        if self.values and not self.reads_masks:
            raise ValueError("`values` needs the source mask or `store_mask: true`")
        if self.store_mask and not self.values and self.source != "regions":
            raise ValueError("`store_mask` needs `values` (class -> values in the mask) or the source regions")
        nested = {isinstance(found, dict) for found in self.values.values()}
        if nested - {self.values_by is not None} or (self.values_by is not None and not self.values):
            raise ValueError(
                "`values` is class -> values, or, with `values_by`, value of that column -> class -> values"
            )
        for found in self.value_maps().values():
            named = [value for values in found.values() for value in values]
            if not all(0 <= value <= _MOST_VALUE for value in named):
                raise ValueError("`values` are from 0 to 65535")
            double = {value for value, times in Counter(named).items() if times > 1}
            if double:
                raise ValueError(f"value {min(double)} of the mask has two meanings; keep one")
            if not named:
                raise ValueError("`values` names no value: class -> values in the mask")
            if len(found) > 254:
                raise ValueError("at most 254 classes fit a mask")

    def value_maps(self) -> dict[str, dict[str, list[int]]]:
        """Class -> values in the mask, for each value of the column `values_by` (without that key under "")."""
        if self.values_by is None:
            return {"": {k: v for k, v in self.values.items() if isinstance(v, list)}} if self.values else {}
        return {k: v for k, v in self.values.items() if isinstance(v, dict)}

    def value_classes(self) -> list[str]:
        """The classes that `values` names, in order of their first appearance."""
        names = dict.fromkeys(name for found in self.value_maps().values() for name in found)
        return [name for name in names if name != IGNORE]


def _values(value: Any) -> Any:
    """Values of a mask as a list, in which `1-999` stands for all from 1 to 999."""
    found: list[Any] = []
    for one in _list(value):
        ends = _RANGE.fullmatch(one) if isinstance(one, str) else None
        found += range(int(ends[1]), min(int(ends[2]), _MOST_VALUE) + 1) if ends else [one]
    return found


def _list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _words(value: Any, key: str) -> list[str]:
    """One or several values as a list of strings."""
    return [word(key, x) for x in _list(value)]


def _words_by_name(value: Any, key: str) -> Any:
    if not isinstance(value, dict):
        return value
    return {word(key, name): _words(words, f"{key}.{name}") for name, words in value.items()}
