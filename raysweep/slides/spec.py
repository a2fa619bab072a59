"""How slides become patches: one entry under `patches:` in a study."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from raysweep.model import Model
from raysweep.slides.labels.spec import LabelSpec
from raysweep.slides.tissue.spec import TissueSpec

# Keys that say which slides are meant and what is written beside the patches: they change no patch.
ASIDE = frozenset({"slides", "root", "columns", "where", "exclude", "collection", "coords", "export", "max_failed"})
KERNEL = "bicubic, antialiased"  # the one resize of every patch
CHROMA = "4:2:0"


class PatchSetSpec(Model):
    """One patch set. The edge of a patch is `um` in the specimen and `px` in pixels, so its mpp is exactly um / px;
    with `mpp: native` in place of `um` patches have the slides' own pixels."""

    slides: str = Field(
        description="a slide table (CSV), a folder of slides or large images, or a glob of them, in which names in "
        "braces are parts of the path that fill columns of the slide table, as in {split}/{label}/*.jpg"
    )
    root: str | None = Field(None, description="folder that relative paths start from; default: the CSV's own folder")
    columns: dict[str, str] = Field(
        {},
        description="columns of the slide table that its others give, such as {path: 'images/{name}.png', patient: "
        "'{case}'}: so that the table of a data set, or a glob, is a slide table as it stands",
    )
    where: dict[str, str | list[str]] = Field({}, description="filters on columns of the slide table")
    exclude: Literal["tasks"] | None = Field(
        None, description="tasks: leave out every slide whose patient is a unit of a task of the study"
    )
    collection: list[str] = Field([], description="what the slides are from, such as TCGA: a name or a list of names")
    um: float | None = Field(None, gt=0, description="edge of a patch in the specimen, um")
    px: int = Field(ge=8, le=8192, description="edge of a patch, pixels")
    mpp: Literal["native"] | None = Field(None, description="native: the slides' own pixels, in place of `um`")
    slide_mpp: float | None = Field(
        None, gt=0, description="um per pixel of slides whose table and file do not say; default: such a slide fails"
    )
    stride: float | None = Field(None, gt=0, le=64, description="from patch to patch, in edges; default 1: no overlap")
    coords: str | None = Field(
        None, description="folder of CLAM or TRIDENT coordinates (<slide>.h5) in place of the grid and the tissue"
    )
    min_tissue: float = Field(0.5, ge=0, le=1, description="least fraction of tissue in a patch")
    tissue: TissueSpec = Field(TissueSpec(), description="how tissue is found and which patches are rejected")
    labels: LabelSpec = Field(LabelSpec(), description="where the labels of patches come from")
    per_slide: int | None = Field(None, ge=1, description="at most this many patches of a slide, drawn by seed")
    max_upsample: float = Field(1.05, ge=1, description="largest enlargement; a coarser slide or box is left out")
    quality: int = Field(90, ge=50, le=100, description="JPEG quality of stored patches (4:2:0 chroma)")
    reader: Literal["auto", "openslide"] = Field(
        "auto", description="auto decodes JPEG-tiled TIFFs itself, several times as fast as OpenSlide"
    )
    icc: Literal["keep", "srgb"] = Field("keep", description="srgb: apply a slide's colour profile; keep: its own RGB")
    export: list[Literal["clam", "trident", "geojson"]] = Field(
        [], description="also write the kept places: CLAM or TRIDENT coordinates, QuPath annotations"
    )
    max_failed: float | None = Field(
        None,
        ge=0,
        le=1,
        description="part of the slides looked at, or one, that may fail; more stop a study; default 0.02",
    )
    split: dict[Literal["val", "test"], float] = Field(
        {}, description="fractions of units; a split column in the slide table wins"
    )
    split_by: Literal["patient", "site"] = Field("patient", description="what is never on two sides of a split")
    split_within: str | None = Field(
        None, description="column of the slide table, such as label: units are dealt within each of its values"
    )

    @property
    def patch_mpp(self) -> float | None:
        """um per pixel of the stored patches; None: each slide's own."""
        return None if self.um is None else self.um / self.px

    @field_validator("collection", mode="before")
    @classmethod
    def _one_collection(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("tissue", mode="before")
    @classmethod
    def _method(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value

    @field_validator("split")
    @classmethod
    def _leaves_train(cls, value: dict[str, float]) -> dict[str, float]:
        if any(f < 0 for f in value.values()) or sum(value.values()) >= 1:
            raise ValueError("fractions must be at least 0 and leave something to train on")
        return value

    @model_validator(mode="after")
    def _one_scale(self) -> "PatchSetSpec":
        if (self.um is None) == (self.mpp is None):
            raise ValueError("give either `um`, the edge of a patch in the specimen, or `mpp: native`")
        return self
