"""Read a study file and its `key=value` overrides into a checked Study."""

import difflib
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from raysweep.errors import RequestError
from raysweep.storage import shipped
from raysweep.study.model import Study


@dataclass(frozen=True)
class StudyFile:
    """A study and the folder that its relative slide tables, cards and search spaces are looked up in."""

    study: Study
    folder: Path


def load_study(ref: str | Path, overrides: Sequence[str] = ()) -> StudyFile:
    """Read a study.

    `ref` is a file, or the name of a study that ships with raysweep. Overrides are OmegaConf dot-list items such
    as `transfer.trials=8` or `transfer.fractions=[0.1,1.0]`. Relative `storage` and `data` start from the current
    directory; every other relative path from the study's own folder.

    Raises RequestError with one sentence that names the key.
    """
    path = _find(ref)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: not a YAML file ({' '.join(str(error).split())[:150]})") from error
    if not isinstance(raw, dict):
        raise RequestError(f"{path}: a study is a mapping of keys such as name, patches, checkpoints and tasks")
    config = _resolve(raw, overrides, path)
    try:
        return StudyFile(Study.model_validate(config), path.parent)
    except ValidationError as error:
        raise RequestError(f"{path.name}: {explain(error, Study)}") from error


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem of a failed validation, in one sentence."""
    first = error.errors()[0]
    where = ".".join(str(p) for p in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {where}; {hint}"
    if first["type"] == "missing":
        return f"{where} is missing"
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float) else ""
    return (f"{where}: " if where else "") + f"{message[0].lower() + message[1:]}{shown}"


def _find(ref: str | Path) -> Path:
    path = Path(ref).expanduser()
    if path.is_file():
        return path.absolute()
    named = shipped("studies") / f"{Path(ref).name.removesuffix('.yaml')}.yaml"
    if "/" not in str(ref) and named.is_file():
        return named
    names = sorted(p.stem for p in shipped("studies").glob("*.yaml"))
    raise RequestError(f"{ref}: no such study file; studies that ship with raysweep: {', '.join(names) or 'none'}")


def _resolve(raw: dict[str, Any], overrides: Sequence[str], path: Path) -> Any:
    for item in overrides:
        if "=" not in item:
            raise RequestError(f"{item}: not an override; write key=value, such as transfer.trials=8")
    try:
        config = OmegaConf.merge(OmegaConf.create(raw), OmegaConf.from_dotlist(list(overrides)))
        assert isinstance(config, DictConfig)
        for key in map(str, config):
            if OmegaConf.is_missing(config, key):
                raise RequestError(f"{path.name}: {key} is not set; give it as {key}=VALUE")
        if config.get("data") and "://" not in str(config.data):
            config.data = Path(str(config.data)).expanduser().absolute().as_posix()
        return OmegaConf.to_container(config, resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise RequestError(f"{path.name}: {' '.join(str(error).split())[:200]}") from error


def _keys_at(annotation: Any, location: Sequence[Any]) -> list[str]:
    """The known keys of the model that a validation error's location leads to."""
    for step in location:
        model = _model_in(annotation)
        if model is not None and step in model.model_fields:
            annotation = model.model_fields[step].annotation
        elif typing.get_origin(annotation) in (dict, list):
            annotation = typing.get_args(annotation)[-1]
    model = _model_in(annotation)
    return sorted(model.model_fields) if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next((m for a in typing.get_args(annotation) if (m := _model_in(a))), None)
    return None
