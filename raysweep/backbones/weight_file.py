"""A file of weights that somebody else wrote, fitted to a backbone: whole, or refused."""

import fnmatch
import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysweep.backbones.file_kind import file_kind
from raysweep.backbones.torch_file import load_tensors
from raysweep.errors import RequestError, WorkError

if TYPE_CHECKING:
    from torch import Tensor, nn

_LEAST_FIT = 0.5  # of a backbone's keys must be in a file, whatever is allowed


@dataclass(frozen=True)
class FoundWeights:
    """Weights under the backbone's names, and what a file had too much or too little; see `Initial`."""

    weights: "dict[str, Tensor]"
    dropped: list[str]
    missing: list[str]
    strays: list[str]
    notes: list[str]


def read_weights(path: Path, model: "nn.Module", *, name: str, init: str, allow_missing: Sequence[str]) -> FoundWeights:
    """The weights of `model`, whose timm name is `name`, in a file; `init` is what errors call it.

    What the file lacks and `allow_missing` lets pass stays as it is in the model. Raises RequestError for a file that
    does not hold the backbone, and all of it, or holds more of the same trunk; WorkError for one that cannot be read.
    """
    from raysweep.backbones.keys import fit_keys, needed_keys

    content = read_content(path)
    try:
        fitted = fit_keys(content, model, ordered=file_kind(path) != "safetensors")
    except RequestError as error:
        raise RequestError(f"init {init}: {error}") from error
    target, needed = model.state_dict(), needed_keys(model)
    found = len(needed) - len(fitted.missing)
    if found < _LEAST_FIT * len(needed):
        raise RequestError(
            f"init {init}: only {found} of the {len(needed)} parameters and statistics of {name} are in it"
            f" (it has {_some(fitted.dropped)}; missing: {_some(fitted.missing)}); name the backbone that it holds"
        )
    refused = _not_allowed(fitted.missing, allow_missing)
    if refused:
        misfits = [key for key in fitted.dropped if " (shape " in key]
        other = f"; of another shape: {_some(misfits)}" if misfits else ""
        raise RequestError(
            f"init {init}: {len(refused)} of the {len(needed)} parameters and statistics of {name} are not in "
            f"it ({_some(refused)}{other}); name the backbone that it holds, or allow_missing what may be random"
        )
    strays = _not_allowed(fitted.strays, allow_missing)
    if strays:
        raise RequestError(
            f"init {init}: {name} has no place for {len(strays)} parameters of the trunk in it "
            f"({_some(strays)}); name the backbone that it holds, such as a deeper one, or allow_missing what may be "
            "left out"
        )
    _check_numbers(fitted.weights, target, init)
    weights = {key: fitted.weights.get(key, value).to(value.dtype) for key, value in target.items()}
    return FoundWeights(weights, fitted.dropped, fitted.missing, fitted.strays, fitted.notes)


def _check_numbers(weights: "dict[str, Tensor]", target: "dict[str, Tensor]", init: str) -> None:
    """Raise RequestError for weights that no network can have learnt: they would load, and all features be useless."""
    import torch

    real = {name: value for name, value in weights.items() if target[name].is_floating_point()}
    empty = [name for name, value in real.items() if value.is_meta or value.layout != torch.strided]
    whole = [name for name, value in real.items() if not value.is_floating_point()]
    rest = {name: value for name, value in real.items() if name not in {*empty, *whole}}
    odd = [name for name, value in rest.items() if not torch.isfinite(value).all()]
    odd += [name for name, value in rest.items() if name.endswith("running_var") and (value < 0).any()]
    for names, what, instead in (
        (empty, "hold no numbers", "save them on a CPU, as plain tensors"),
        (whole, "are no floating-point numbers, as in a quantised network", "give those that were not quantised"),
        (odd, "hold values that are no numbers, or variances below 0", "give those of an earlier epoch"),
    ):
        if names:
            raise RequestError(f"init {init}: {len(names)} of its weights {what} ({_some(names)}); {instead}")
    if all(not value.any() for value in rest.values() if value.ndim > 1):
        raise RequestError(f"init {init}: all of its weights are 0; give those of a network that was trained")


def _not_allowed(keys: list[str], allow_missing: Sequence[str]) -> list[str]:
    return [key for key in keys if not any(fnmatch.fnmatchcase(key, glob) for glob in allow_missing)]


def read_content(path: Path) -> dict[str, Any]:
    """What a file of weights holds: names and tensors, perhaps nested. A stranger's file is never unpickled.

    Raises RequestError for a damaged file and one of something else, WorkError for one that cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    kind = file_kind(path)
    try:
        content = load_file(path) if kind == "safetensors" else load_tensors(path)
    except OSError as error:
        raise WorkError(f"init {path}: cannot be read ({error.strerror or error})") from error
    except pickle.UnpicklingError as error:
        if _asks_for_objects(str(error)):
            raise RequestError(
                f"init {path}: holds Python objects besides tensors, which could run code when read; convert it to"
                " .safetensors where you trust it"
            ) from error
        raise RequestError(f"init {path}: is damaged, or no file of `torch.save`; get it anew") from error
    except (SafetensorError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, LookupError,
            AttributeError) as error:  # fmt: skip
        text = " ".join(str(error).split())[:150]
        raise RequestError(f"init {path}: cannot be read as a file of weights ({text}); get it anew") from error
    if not isinstance(content, dict):
        raise RequestError(f"init {path}: holds a {type(content).__name__} where names and tensors are needed")
    return dict(content)


def _asks_for_objects(said: str) -> bool:
    """Whether torch refused a pickle for what it would build; else it could not follow it at all."""
    return "GLOBAL" in said or "can still be loaded" in said or "nested too deep" in said


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") or "none"
