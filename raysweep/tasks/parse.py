"""A value from a YAML file becomes a typed model, or one sentence that says what is wrong with it."""

from typing import Any, TypeVar

from pydantic import ValidationError

from raysweep.errors import RequestError
from raysweep.model import Model, problem

M = TypeVar("M", bound=Model)


def parse(model: type[M], value: Any, where: str) -> M:
    """`value` as a `model`; `where` names the file and key it came from.

    Raises RequestError naming the first wrong key.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        key, said, first = problem(error)
        if first["type"] == "extra_forbidden":
            said = f"unknown key; known are {', '.join(model.model_fields)}"
        elif first["type"] == "missing":
            said = "is missing"
        raise RequestError(f"{where}: {key}: {said}" if key else f"{where}: {said}") from error
