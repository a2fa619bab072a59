"""Key rules: where a backbone's weights are in a file that somebody else wrote."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from raysweep.backbones.adapt import adapt
from raysweep.backbones.renames import Reading, renamed

_AS_WELL = 0.9  # of the best copy's keys: a copy with so many fits as well
_WRAPPED = 0.5  # of a backbone's keys stand under a prefix that may be its own
_MOST_WRAPPERS = 6
_RENAMED = 0.5  # of a backbone's keys are missing: its names in the file are others
_MOST_HEAD_KEYS = 4  # left over behind a trunk that is found by its sequence

# Of two copies that fit as well, the one whose prefix names the first of these is taken: an average of weights
# over time, then a teacher (DINO), then the trained branch (MoCo, BYOL, SimSiam).
_PREFERRED = ("ema", "teacher", "encoder_q", "base_encoder", "online", "student")
_AVOIDED = ("encoder_k", "momentum", "target", "optimizer")

_HEADS = frozenset({"head", "heads", "fc", "classifier", "head_dist", "pre_logits", "last_layer", "projector",
                    "projection_head", "predictor", "mlp_head"})  # fmt: skip
_POSITIONS = re.compile(  # what a network counts or computes by itself, and what tools leave in it
    r"(^|\.)(num_batches_tracked|relative_position_index|relative_coords_table|attn_mask|mask_token|total_ops"
    r"|total_params|_extra_state|inv_freq|freqs\w*|periods|rope\w*(\.\w+)*)$"
)


@dataclass(frozen=True)
class Fitted:
    """The weights that fit a backbone, under its own names, and what became of the others."""

    weights: dict[str, Tensor]
    prefix: str = ""  # what stood before the backbone's names in the file
    dropped: list[str] = field(default_factory=list)  # keys of the file that are not used, with a shape that misfits
    missing: list[str] = field(default_factory=list)  # parameters and running statistics that the file does not have
    strays: list[str] = field(default_factory=list)  # dropped keys inside the backbone's own trunk: of another network
    notes: list[str] = field(default_factory=list)  # what was done beside taking a prefix off

    @property
    def misfits(self) -> tuple[int, int]:
        return len(self.missing), len(self.strays)


def fit_keys(content: Mapping[str, Any], model: nn.Module, *, ordered: bool = True) -> Fitted:
    """Find the backbone in the content of a file.

    Nested dictionaries (`state_dict`, `model`, `classy_state_dict.base_model.model.trunk`) are flattened to dotted
    keys. The prefix (`module.`, `backbone.`, `module.encoder_q.`, `_feature_blocks.`, `encoder.`, ...) under which
    most keys fit in name and shape is taken off. What does not fit so is tried by the key rules of renamed families, by
    timm's own conversion of foreign files, and at last by the sequence of (last part of the name, shape), where that
    is the same one to one. Every other key is dropped.

    Args:
        content: what the file holds: tensors by name, possibly nested, possibly among other things.
        model: the backbone, without a classifier.
        ordered: whether the file keeps the order in which the network was built, as safetensors does not.
    """
    flat = dict(_flatten(content, ""))
    target = model.state_dict()
    needed = needed_keys(model)
    best: Fitted | None = None
    for reading in _readings(flat, model, target):
        for tried in (reading, adapt(reading, model)):
            if tried is None:
                continue
            fitted = _fit(tried, flat, target, needed)
            if best is None or fitted.misfits < best.misfits:
                best = fitted
        if best is not None and best.misfits == (0, 0):
            return best
    assert best is not None
    others = len(best.missing) > _RENAMED * len(needed)  # a key too few is no reason to take another copy
    return (_by_sequence(flat, target, needed) if ordered and others else None) or best


def needed_keys(model: nn.Module) -> list[str]:
    """What a file must have: parameters and running statistics. Other buffers a network makes by itself."""
    parameters = {name for name, _ in model.named_parameters()}
    return [n for n in model.state_dict() if n in parameters or n.endswith(("running_mean", "running_var"))]


def _readings(flat: dict[str, Tensor], model: nn.Module, target: Mapping[str, Tensor]) -> Iterator[Reading]:
    """The file's tensors under names that may be the backbone's: prefixes taken off, then renamed families."""
    prefix, found = _best_prefix(flat, target)
    yield Reading.under(flat, prefix)
    yield from renamed(flat, model, _liking)
    if found < _WRAPPED * len(target):  # names that only timm's conversion knows
        for other in _wrappers(flat, target):
            if other != prefix:
                yield Reading.under(flat, other)


def _best_prefix(flat: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> tuple[str, int]:
    fits: dict[str, int] = {}
    for key, value in flat.items():
        for prefix in _prefixes(key):
            wanted = target.get(key[len(prefix) :])
            if wanted is not None and wanted.shape == value.shape:
                fits[prefix] = fits.get(prefix, 0) + 1
    enough = _AS_WELL * max(fits.values(), default=0)
    copies = [prefix for prefix in fits if fits[prefix] >= enough]
    prefix = max(copies, key=lambda p: (_liking(p), fits[p], -len(p)), default="")
    return prefix, fits.get(prefix, 0)


def _wrappers(flat: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> list[str]:
    """Prefixes that hold enough keys for a whole backbone, the liked and the long ones first."""
    held: dict[str, int] = {}
    for key in flat:
        for prefix in _prefixes(key):
            held[prefix] = held.get(prefix, 0) + 1
    large = [prefix for prefix, count in held.items() if count >= _WRAPPED * len(target)]
    return sorted(large, key=lambda p: (-_liking(p), -len(p)))[:_MOST_WRAPPERS]


def _fit(reading: Reading, flat: dict[str, Tensor], target: Mapping[str, Tensor], needed: list[str]) -> Fitted:
    weights, strays, misfits = {}, [], {}
    used: set[str] = set()
    tops = {name.partition(".")[0] for name in target}
    for name, value in reading.tensors.items():
        wanted = target.get(name)
        if wanted is not None and wanted.shape == value.shape:
            weights[name] = value
            used.update(reading.origins[name])
        elif wanted is not None:
            misfits.update(
                {key: f"{key} (shape {tuple(value.shape)}, not {tuple(wanted.shape)})" for key in reading.origins[name]}
            )
        elif _is_trunk(name, tops, value):
            strays += reading.origins[name] or [name]
    dropped = [misfits.get(key, key) for key in flat if key not in used]
    missing = [name for name in needed if name not in weights]
    return Fitted(weights, reading.prefix, dropped, missing, strays, list(reading.notes))


def _is_trunk(name: str, tops: set[str], value: Tensor) -> bool:
    """Whether a key that the backbone does not have changes what its trunk computes: a deeper network's, say."""
    parts = name.split(".")
    if parts[0] not in tops or parts[0] in _HEADS or _POSITIONS.search(name):
        return False
    return bool(value.is_floating_point())


def _by_sequence(flat: dict[str, Tensor], target: Mapping[str, Tensor], needed: list[str]) -> Fitted | None:
    """The backbone under other names, in the order in which the network was built."""
    sequence = [(name.rpartition(".")[2], target[name].shape) for name in needed]
    if not sequence:
        return None
    for prefix in sorted({p for key in flat for p in _prefixes(key)}, key=lambda p: (-_liking(p), -len(p))):
        keys = [k for k in flat if k.startswith(prefix) and not k.endswith("num_batches_tracked")]
        if not 0 <= len(keys) - len(sequence) <= _MOST_HEAD_KEYS:
            continue
        trunk, head = keys[: len(sequence)], keys[len(sequence) :]
        if [(k.rpartition(".")[2], flat[k].shape) for k in trunk] != sequence:
            continue
        tops = {k[len(prefix) :].partition(".")[0] for k in trunk}
        if any(k[len(prefix) :].partition(".")[0] in tops for k in head):  # the network goes on
            continue
        note = f"its names are others; taken in its own order, {trunk[0]} as {needed[0]} to {trunk[-1]} as {needed[-1]}"
        dropped = [k for k in flat if k not in set(trunk) and not k.endswith("num_batches_tracked")]
        weights = {name: flat[key] for name, key in zip(needed, trunk, strict=True)}
        return Fitted(weights, prefix, dropped, [], [], [note])
    return None


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
