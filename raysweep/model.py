"""The base of every typed model that a YAML file is parsed into."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Frozen; an unknown key is an error, and so are inf and nan."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
