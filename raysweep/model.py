"""The base of every typed model that a YAML file is parsed into."""

import re
import types
import typing
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from raysweep.yaml_file import WrittenFloat, WrittenInt

_WORDS = {
    "list_type": "should be a list, such as [a, b]",
    "tuple_type": "should be a list, such as [1, 2]",
    "dict_type": "should be a mapping of keys to values",
    "model_type": "should be a mapping of keys to values",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "string_type": "should be a text",
}  # pydantic's types of errors, where its own words speak of Python


class Model(BaseModel):
    """Frozen; an unknown key is an error, and so are inf and nan.

    Where a name is meant, a number is the text that it was in its file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers_as_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        fields = cls.model_fields
        return {k: _named(k, v, fields[k].annotation) if k in fields else v for k, v in data.items()}


def problem(error: ValidationError) -> tuple[str, str, Any]:
    """The first that is wrong: its key with dots (empty: the whole), what is wrong in words, and pydantic's details."""
    first = error.errors()[0]
    said = _WORDS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    if first["type"] == "float_parsing" and re.fullmatch(r"\s*-?\d+,\d+\s*", str(first["input"])):
        said += ", with a point and no comma"
    return ".".join(str(part) for part in first["loc"]), said, first


def word(key: str, value: Any) -> str:
    """A name: a number as the text it was. Raises ValueError for `true`, `false` and `null`, which are no names."""
    if value is None or isinstance(value, bool):
        shown = "null" if value is None else str(value).lower()
        raise ValueError(f"{key}: {shown} is a value of its own in YAML; where it is a name, write it in quotes")
    return value.text if isinstance(value, WrittenInt | WrittenFloat) else str(value)


def _named(key: str, value: Any, annotation: Any) -> Any:
    """The value with every number that stands where only a name can be as its text."""
    arms = _arms(annotation)
    if isinstance(value, bool) and {int, float} & set(arms) and not {bool, Any} & set(arms):
        raise ValueError(f"{key}: {str(value).lower()} is no number")  # pydantic takes it for 1 or 0
    if isinstance(value, list | tuple):
        inner = next((typing.get_args(a)[0] for a in arms if typing.get_origin(a) is list), None)
        return value if inner is None else [_named(key, v, inner) for v in value]
    if isinstance(value, dict):
        inner = next((typing.get_args(a) for a in arms if typing.get_origin(a) is dict), None)
        if inner is None:
            return value
        if inner[0] is int:
            _check_whole(key, value)
        return {_key(key, k, inner[0]): _named(f"{key}.{k}", v, inner[1]) for k, v in value.items()}
    words = [w for a in arms if typing.get_origin(a) is typing.Literal for w in typing.get_args(a)]
    takes_text = str in arms or any(isinstance(w, str) for w in words)
    takes_other = any(a in (int, float, bool, Any) for a in arms)
    if not takes_text or takes_other or isinstance(value, str) or (value is None and type(None) in arms):
        return value
    return word(key, value)


def _check_whole(key: str, value: dict[Any, Any]) -> None:
    """Raise ValueError for keys that are one number in two ways, such as 1 and 01: of these the last would be kept."""
    seen: dict[int, Any] = {}
    for name in value:
        try:
            number = int(name)
        except (TypeError, ValueError):
            continue  # pydantic says what is wrong with it
        if number in seen:
            raise ValueError(f"{key}: {seen[number]} and {name} are one number; keep one")
        seen[number] = name


def _key(key: str, name: Any, annotation: Any) -> Any:
    return word(key, name) if annotation is str and not isinstance(name, str) else name


def _arms(annotation: Any) -> list[Any]:
    """The alternatives of a union, without `Annotated`."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _arms(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [arm for part in typing.get_args(annotation) for arm in _arms(part)]
    return [annotation]
