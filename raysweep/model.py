"""The base of every typed model that a YAML file is parsed into."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
