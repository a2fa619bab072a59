"""Read a study file, what it extends and its `key=value` overrides into a checked Study."""

import difflib
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from raysweep.addresses import in_utf8, is_address
from raysweep.errors import RequestError
from raysweep.local_path import local_path
from raysweep.model import problem
from raysweep.storage import shipped
from raysweep.study.model import Study
from raysweep.study.references import check_references
from raysweep.yaml_file import load_yaml, parse_yaml

_CALLED_NOW = {"finals": "repeats", "parallel_per_cell": "parallel_per_repeat", "region_mpx": "cut_mpx",
               "stage_gb": "fetch_gb"}  # fmt: skip
KEEP = {"allow_objects": True}  # numbers that remember how they were written


@dataclass(frozen=True)
class StudyFile:
    """A study, its file and those that it extends.

    Cards and search spaces are looked up in its own folder, then in those of what it extends.
    """

    study: Study
    files: tuple[Path, ...]

    @property
    def folders(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(path.parent for path in self.files))

    @property
    def folder(self) -> Path:
        """The study file's own, which its relative paths start from."""
        return self.folders[0]


def load_study(ref: str | Path, overrides: Sequence[str] = ()) -> StudyFile:
    """Read a study.

    `ref` is a file, or the name of a study that ships with raysweep. Overrides are items such as `transfer.trials=8`
    or `transfer.fractions=[0.1,1.0]`, their values YAML. Relative `storage` and `data` start from the current
    directory; every other relative path from the folder of the file that it stands in.

    Raises RequestError with one sentence that names the key.
    """
    path = _find(ref, Path())
    raw, files = _read(path, ())
    config = _resolve(raw, overrides, path)
    try:
        return StudyFile(Study.model_validate(config), tuple(files))
    except ValidationError as error:
        raise RequestError(f"{path.name}: {explain(error, Study)}") from error


def override(config: DictConfig, item: str) -> None:
    """Set what `key=value` says; the value is YAML, read as in files."""
    key, _, text = item.partition("=")
    OmegaConf.update(config, key, parse_yaml(text, item), merge=True, force_add=True)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem of a failed validation, in one sentence."""
    where, message, first = problem(error)
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, first["loc"][:-1])
        near = difflib.get_close_matches(_CALLED_NOW.get(str(first["loc"][-1]), str(first["loc"][-1])), known, n=1,
                                         cutoff=0.4)  # fmt: skip
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {where}; {hint}"
    if first["type"] == "missing":
        return f"{where} is missing"
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float) else ""
    return (f"{where}: " if where else "") + f"{message[0].lower() + message[1:]}{shown}"


def _find(ref: str | Path, folder: Path) -> Path:
    path = folder / local_path(ref, "study")
    if path.is_file():
        return path.absolute()
    named = shipped("studies") / f"{Path(ref).name.removesuffix('.yaml')}.yaml"
    if "/" not in str(ref) and named.is_file():
        return named
    names = sorted(p.stem for p in shipped("studies").glob("*.yaml"))
    raise RequestError(f"{ref}: no such study file; studies that ship with raysweep: {', '.join(names) or 'none'}")


def _read(path: Path, chain: tuple[Path, ...]) -> tuple[dict[str, Any], list[Path]]:
    """A file's keys with those that it extends, and the files of both. `chain`: the files that led here."""
    raw = load_yaml(path)
    if not isinstance(raw, dict):
        raise RequestError(f"{path}: a study is a mapping of keys such as name, patches, checkpoints and tasks")
    parent = raw.pop("extends", None)
    if parent is None:
        return raw, [path]
    if not isinstance(parent, str):
        raise RequestError(f"{path.name}: extends: name one study, or the path of its file")
    if not raw.get("name"):
        raise RequestError(f"{path.name}: name is missing; a study that extends another has a name of its own")
    try:
        beside = path.parent / f"{parent}.yaml"  # it may be named without its ending, as cards and spaces are
        other = beside.is_file() and not beside.samefile(path)
        above = beside.resolve() if other else _find(parent, path.parent).resolve()
    except RequestError as error:
        raise RequestError(f"{path.name}: extends: {error}") from error
    if above in (*chain, path.resolve()):
        loop = " -> ".join(p.name for p in (*chain, path, above))
        raise RequestError(f"{path.name}: extends: the studies extend each other in a loop ({loop})")
    inherited, files = _read(above, (*chain, path.resolve()))
    if above.parent != path.parent.resolve():
        inherited = _from_its_folder(inherited, above.parent)
    return _merged(inherited, raw), [path, *files]


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Mappings merge, lists and scalars replace, and null removes."""
    merged = dict(below)
    for key, value in above.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


def _from_its_folder(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The keys of a file that is extended from another folder, its relative paths made absolute."""

    def moved(value: Any, *, always: bool) -> Any:
        if isinstance(value, list):
            return [moved(v, always=always) for v in value]
        if isinstance(value, dict):  # sources with their shares
            return {moved(k, always=always): v for k, v in value.items()}
        plain = isinstance(value, str) and not is_address(value) and not value.startswith(("${", "/", "~"))
        looks = plain and ("/" in value or (folder / value).is_file()) and ":" not in value
        return (folder / value).as_posix() if plain and (always or looks) else value

    raw = dict(raw)
    for room, keys, always in (("patches", ("slides", "root", "coords"), True),
                               ("checkpoints", ("init", "patches"), False)):  # fmt: skip
        entries = raw.get(room)
        if isinstance(entries, dict):
            raw[room] = {
                name: {k: moved(v, always=always) if k in keys else v for k, v in entry.items()}
                if isinstance(entry, dict)
                else entry
                for name, entry in entries.items()
            }
    return raw


def _resolve(raw: dict[str, Any], overrides: Sequence[str], path: Path) -> Any:
    for item in overrides:
        if "=" not in item:
            raise RequestError(f"{item}: not an override; write key=value, such as transfer.trials=8")
    try:
        config = OmegaConf.create(raw, flags=KEEP)
        assert isinstance(config, DictConfig)
        for item in overrides:
            override(config, item)
        check_references(OmegaConf.to_container(config), path.name)
        for key in map(str, config):
            if OmegaConf.is_missing(config, key):
                raise RequestError(f"{path.name}: {key} is not set; give it as {key}=VALUE")
        if config.get("data"):
            config.data = in_utf8(local_path(str(config.data), "data").absolute().as_posix())
        return OmegaConf.to_container(config, resolve=True)
    except RecursionError as error:
        raise RequestError(f"{path.name}: its keys are nested too deep") from error
    except OmegaConfBaseException as error:
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
