"""A file of weights that somebody else wrote, fitted to a backbone: whole, or refused."""

import fnmatch
import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        fitted = fit_keys(content, model, ordered=path.suffix.lower() != ".safetensors")
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
    weights = {key: fitted.weights.get(key, value).to(value.dtype) for key, value in target.items()}
    return FoundWeights(weights, fitted.dropped, fitted.missing, fitted.strays, fitted.notes)


def _not_allowed(keys: list[str], allow_missing: Sequence[str]) -> list[str]:
    return [key for key in keys if not any(fnmatch.fnmatchcase(key, glob) for glob in allow_missing)]


def read_content(path: Path) -> dict[str, Any]:
    """What a file of weights holds: names and tensors, perhaps nested. A stranger's file is never unpickled.

    Raises RequestError for a file of something else, WorkError for one that cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix.lower() == ".safetensors":
            return dict(load_file(path))
        content = load_tensors(path)
    except pickle.UnpicklingError as error:
        raise RequestError(
            f"init {path}: holds Python objects besides tensors, which could run code when read; convert it to"
            " .safetensors where you trust it"
        ) from error
    except (SafetensorError, zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError, LookupError,
            AttributeError) as error:  # fmt: skip
        text = " ".join(str(error).split())[:150]
        raise WorkError(f"init {path}: cannot be read as a file of weights ({text})") from error
    if not isinstance(content, dict):
        raise RequestError(f"init {path}: holds a {type(content).__name__} where names and tensors are needed")
    return content


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") or "none"
