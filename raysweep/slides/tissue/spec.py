"""How tissue is found, and which patches are not worth keeping."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from raysweep.model import Model
from raysweep.slides.tissue.methods import method_names


class TissueSpec(Model):
    """`tissue:` of a patch set. A word alone stands for `{method: word}`."""

    method: str = Field(
        "otsu",
        description="how tissue is found: otsu (saturation above a threshold of the slide's own), hsv (hue and "
        "saturation that the stain has), mask (an image beside the slide, black where there is none), annotations "
        "(outlines), all (everywhere)",
    )
    # A few cells across: dust, JPEG noise and floating debris are smaller. Isolated cells of a smear are not.
    min_region_um2: float | None = Field(
        None, ge=0, description="smallest region kept, um2; default: 1,000 for otsu and hsv, 0 for the others"
    )
    # Fat cells and the lumina of glands are up to about 100 um wide; without them fat would not count as tissue.
    max_hole_um2: float | None = Field(
        None,
        ge=0,
        description="holes up to this size are filled, um2; default: 10,000 for otsu and hsv, 0 for the others",
    )
    exclude: list[Literal["pen", "fold", "bubble", "edge"]] | None = Field(
        None,
        description="what is cut out of the tissue where the stain allows telling it: pen marks, folds, air bubbles, "
        "edges of the cover slip; default: all of them, with the method all none",
    )
    reject: list[Literal["blank", "blurred", "dark"]] | None = Field(
        None,
        description="which patches are dropped, each counted under its reason; default: all three, with the method "
        "all none; tiles that `mpp: native` copies undecoded are judged, and decoded for it, only where this is given",
    )
    dark_background: bool = Field(
        False,
        description="take slides with a dark background (fluorescence) instead of skipping them; exclude is then not "
        "looked at, nor are blank and dark in reject",
    )
    annotations: list[str] = Field(
        [], description="with the method annotations: names of the outlines that are tissue; default: all of them"
    )

    @field_validator("method")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in method_names():
            raise ValueError(f"there is no method {value}; write one of {', '.join(method_names())}")
        return value

    @model_validator(mode="after")
    def _belong_together(self) -> "TissueSpec":
        if self.annotations and self.method != "annotations":
            raise ValueError(f"`annotations` is for the method annotations, not for {self.method}; remove one of them")
        if self.dark_background and self.method == "hsv":
            raise ValueError("the method hsv knows the colours of stains only; use otsu for a dark background")
        return self

    @property
    def excluded(self) -> tuple[str, ...]:
        """What is cut out of the tissue, the method and the kind of slide considered."""
        if self.dark_background:
            return ()
        return self._or_all(self.exclude, ("pen", "fold", "bubble", "edge"))

    @property
    def rejected(self) -> tuple[str, ...]:
        """What single patches are rejected for, the method and the kind of slide considered."""
        found = self._or_all(self.reject, ("blank", "blurred", "dark"))
        return tuple(name for name in found if name == "blurred") if self.dark_background else found

    def _or_all(self, given: list[Any] | None, every: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(given) if given is not None else () if self.method == "all" else every
