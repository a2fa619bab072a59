"""What a study can say of weights that come from outside: how the model is built, read and fed. Light."""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from raysweep.model import Model

Triple = tuple[float, float, float]
Pool = Literal["token", "avg", "token+avg"]
Interpolation = Literal["bilinear", "bicubic"]

_OURS = {  # arguments of timm's constructors that raysweep sets itself
    "num_classes": "a backbone has no classifier",
    "in_chans": "images have three channels",
    "global_pool": "use the key pool",
    "features_only": "leave it out",
    "pretrained": "use the key init",
    "checkpoint_path": "use the key init",
    "pretrained_cfg": "use the keys mean and std",
    "pretrained_cfg_overlay": "use the keys mean and std",
}
FROM_FILE = ("file:", "published:")  # identities of inits whose keys are fitted to the backbone's


class Given(Model):
    """The keys of a checkpoint that say how its weights are to be read; all optional."""

    model_args: dict[str, Any] = Field(
        {}, description="arguments of timm's constructor; layers by their name in timm.layers or torch.nn"
    )
    pool: Pool | None = Field(
        None, description="of a vision transformer's tokens; token+avg: the class token joined with the patches' mean"
    )
    mean: Triple | None = Field(None, description="of the channels R, G, B, for pixels in [0, 1]; default: timm's")
    std: Triple | None = Field(None, description="of the channels R, G, B, for pixels in [0, 1]; default: timm's")
    interpolation: Interpolation | None = Field(None, description="of the resize before the network; default: bicubic")
    seen: list[str] = Field([], description="data that the weights have seen, such as TCGA or the name of a task")
    allow_missing: list[str] = Field(
        [], description="globs of parameters that may be missing in a file, and of trunk keys that may be left over"
    )
    card: str | None = Field(None, description="published model that the file of weights is of: its card says the rest")

    @field_validator("model_args")
    @classmethod
    def _not_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in value:
            if key in _OURS:
                raise ValueError(f"{key} is not to be given here: {_OURS[key]}")
        return value

    @field_validator("mean", "std")
    @classmethod
    def _of_unit_pixels(cls, value: Triple | None, info: ValidationInfo) -> Triple | None:
        if value is not None and not (min(value) >= 0 and max(value) <= 1):
            raise ValueError("is for pixels in [0, 1], so lies there itself; divide what is for 0 to 255 by 255")
        if value is not None and info.field_name == "std" and min(value) <= 0:
            raise ValueError("every std must be above 0")
        return value

    def covered(self, identity: str) -> dict[str, Any]:
        """What a fingerprint covers of these keys: those that are set and that apply to an init of that identity.

        A card is part of the identity.
        """
        keys = {"model_args", "pool", "mean", "std", "interpolation", "seen"}
        if identity.startswith(FROM_FILE):
            keys.add("allow_missing")
        found = {key: value for key, value in self.model_dump(mode="json").items() if key in keys and value}
        return {key: sorted(set(value)) if key in ("seen", "allow_missing") else value for key, value in found.items()}
