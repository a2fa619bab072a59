"""How slides become patches: one entry under `patches:` in a study."""

from typing import Any, Literal

from pydantic import Field, field_validator

from raysweep.model import Model

KERNEL = "bicubic, antialiased"  # the one resize of every patch
CHROMA = "4:2:0"


class PatchSetSpec(Model):
    """One patch set. The edge of a patch is `um` in the specimen and `px` in pixels, so its mpp is exactly um / px."""

    slides: str = Field(description="a slide table (CSV) or a glob of slide files")
    root: str | None = Field(None, description="folder that relative paths start from; default: the CSV's own folder")
    where: dict[str, str | list[str]] = Field({}, description="filters on columns of the slide table")
    um: float = Field(gt=0, description="edge of a patch in the specimen, um")
    px: int = Field(ge=8, le=8192, description="edge of a patch, pixels")
    min_tissue: float = Field(0.5, ge=0, le=1, description="least fraction of tissue in a patch")
    tissue: Literal["otsu", "all"] = Field("otsu", description="how tissue is found; all: every patch counts")
    per_slide: int | None = Field(None, ge=1, description="at most this many patches of a slide, drawn by seed")
    max_upsample: float = Field(1.05, ge=1, description="largest enlargement; a coarser slide is skipped")
    quality: int = Field(90, ge=50, le=100, description="JPEG quality of stored patches (4:2:0 chroma)")
    split: dict[Literal["val", "test"], float] = Field(
        {}, description="fractions of units; a split column in the slide table wins"
    )

    @property
    def mpp(self) -> float:
        """um per pixel of the stored patches."""
        return self.um / self.px

    @field_validator("where", mode="before")
    @classmethod
    def _as_words(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: [str(x) for x in v] if isinstance(v, list) else str(v) for k, v in value.items()}

    @field_validator("split")
    @classmethod
    def _leaves_train(cls, value: dict[str, float]) -> dict[str, float]:
        if any(f < 0 for f in value.values()) or sum(value.values()) >= 1:
            raise ValueError("fractions must be at least 0 and leave something to train on")
        return value
