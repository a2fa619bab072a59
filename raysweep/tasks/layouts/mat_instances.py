"""Images beside MATLAB files of instance maps: CoNSeP, and Kumar and CPM17 as HoVer-Net has them (`inst_map`)."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from raysweep.errors import WorkError
from raysweep.mat_file import mat_arrays, mat_names
from raysweep.tasks.card import Card
from raysweep.tasks.layouts import image_mask_pairs, layout
from raysweep.tasks.reader import Reader
from raysweep.tasks.sample import LeftOut, Sample


class Options(image_mask_pairs.Options):
    """As for pairs of images and masks. Without `type_map` every object is class 1."""

    images: str = Field("Images/*.png", description="glob of the images, below the root; ** goes into subfolders")
    mask: str | list[str] = Field(
        "Labels/{stem}.mat",
        description="path of a file: {stem}, {name}, {folder}, {parent} (the folder above), {image} of the image; of "
        "several the first where there is a file",
    )
    key: str = Field("inst_map", description="the variable that numbers the objects")
    type_map: str | None = Field(None, description="the variable of pixels' classes, which masks.values gives names to")

    @model_validator(mode="before")
    @classmethod
    def _one_class(cls, data: Any) -> Any:
        """Numbers of objects are no classes."""
        if isinstance(data, dict) and data.get("type_map") is None and isinstance(data.get("masks", {}), dict):
            return {**data, "masks": {"instances": True, **data.get("masks", {})}}
        return data


class _MatReader(Reader):
    @property
    def numbered(self) -> bool:
        return True

    def mask(self, sample: Sample) -> np.ndarray:
        return self._variable(sample, self.options.type_map or self.options.key)

    def instances(self, sample: Sample) -> np.ndarray:
        return self._variable(sample, self.options.key)

    def inputs(self) -> dict[str, Any]:
        return {"key": self.options.key, "type_map": self.options.type_map}

    def _variable(self, sample: Sample, name: str) -> np.ndarray:
        values = _load(self.root / str(sample.mask), name)
        if values.ndim != 2 or values.dtype.kind not in "biuf":
            raise WorkError(f"{name} is no map of numbers, one for each pixel")
        if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            raise WorkError(f"{name} holds other than whole numbers")
        if values.min(initial=0) < 0 or values.max(initial=0) > np.iinfo(np.int32).max:
            raise WorkError(f"{name} holds numbers below 0 or above 2147483647")
        return values.astype(np.int32)


def _load(path: Path, name: str) -> np.ndarray:
    held = mat_arrays(path, [name])
    if name not in held:
        known = ", ".join(mat_names(path)) or "nothing"
        raise WorkError(f"it has no {name}, only {known}; name the variable in layout")
    return held[name]


@layout("mat_instances", Options, {"segmentation"}, reader=_MatReader)
def index(options: Options, root: Path, card: Card) -> list[Sample | LeftOut]:
    """As for pairs of images and masks."""
    return image_mask_pairs.index(options, root, card)
