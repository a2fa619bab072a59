"""Key rules: where a backbone's weights are in a file that somebody else wrote."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

_AS_WELL = 0.9  # of the best copy's keys: a copy with so many fits as well

# Of two copies that fit as well, the one whose prefix names the first of these is taken: an average of weights
# over time, then a teacher (DINO), then the trained branch (MoCo, BYOL, SimSiam).
_PREFERRED = ("ema", "teacher", "encoder_q", "base_encoder", "online", "student")
_AVOIDED = ("encoder_k", "momentum", "target", "optimizer")


@dataclass(frozen=True)
class Fitted:
    """The weights that fit a backbone, under its own names, and what became of the others."""

    weights: dict[str, Tensor]
    prefix: str  # what stood before the backbone's names in the file
    dropped: list[str]  # keys of the file that the backbone does not have, or has in another shape
    missing: list[str]  # keys of the backbone that the file does not have


def fit_keys(content: Mapping[str, Any], target: Mapping[str, Tensor]) -> Fitted:
    """Find the backbone in the content of a file.

    Nested dictionaries (`state_dict`, `model`, `classy_state_dict.base_model.model.trunk`) are flattened to dotted
    keys. The prefix (`module.`, `backbone.`, `module.encoder_q.`, `_feature_blocks.`, `encoder.`, ...) under which
    most keys fit `target` in name and shape is taken off; every other key is dropped.

    Args:
        content: what the file holds: tensors by name, possibly nested, possibly among other things.
        target: the backbone's own state.
    """
    flat = dict(_flatten(content, ""))
    fits: dict[str, int] = {}
    for key, value in flat.items():
        for prefix in _prefixes(key):
            wanted = target.get(key[len(prefix) :])
            if wanted is not None and wanted.shape == value.shape:
                fits[prefix] = fits.get(prefix, 0) + 1
    enough = _AS_WELL * max(fits.values(), default=0)
    copies = [prefix for prefix in fits if fits[prefix] >= enough]
    prefix = max(copies, key=lambda p: (_liking(p), fits[p], -len(p)), default="")
    weights, dropped = {}, []
    for key, value in flat.items():
        name = key.removeprefix(prefix)
        wanted = target.get(name) if key.startswith(prefix) else None
        if wanted is None:
            dropped.append(key)
        elif wanted.shape != value.shape:
            dropped.append(f"{key} (shape {tuple(value.shape)}, not {tuple(wanted.shape)})")
        else:
            weights[name] = value
    return Fitted(weights, prefix, dropped, [name for name in target if name not in weights])


def _flatten(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")


def _prefixes(key: str) -> Iterator[str]:
    yield ""
    at = key.find(".")
    while at >= 0:
        yield key[: at + 1]
        at = key.find(".", at + 1)


def _liking(prefix: str) -> int:
    """Higher for prefixes that are preferred to others."""
    if any(word in prefix for word in _AVOIDED):
        return -1
    return next((len(_PREFERRED) - rank for rank, word in enumerate(_PREFERRED) if word in prefix), 0)
