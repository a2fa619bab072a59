"""The weights that a model starts from: random, published, a file, or another checkpoint."""

import fnmatch
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysweep.backbones import published
from raysweep.backbones.checkpoint import CheckpointInfo, load_checkpoint
from raysweep.backbones.given import Given
from raysweep.backbones.names import check_backbone, check_tag
from raysweep.errors import RequestError, WorkError
from raysweep.storage import Storage, file_identity

if TYPE_CHECKING:
    from torch import Tensor, nn

HUB = "hf-hub:"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar", ".torch")
_LEAST_FIT = 0.5  # of a backbone's keys must be in a file, whatever is allowed


@dataclass(frozen=True)
class Initial:
    """Weights under timm's names, what they are, and what a file had too much or too little.

    `missing` are parameters and running statistics that were allowed to be drawn at random, `strays` those dropped keys
    that were allowed though they are of the same trunk, `notes` say what was done to make a file fit beside taking a
    prefix off.
    """

    weights: "dict[str, Tensor]"
    info: CheckpointInfo
    dropped: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def misfits(self) -> dict[str, list[str]]:
        """For the manifest: every key that did not fit, by what became of it."""
        return {"dropped_keys": self.dropped, "missing_keys": self.missing, "stray_keys": self.strays}


def is_file(init: str) -> bool:
    """Whether an init names a file of weights, there or not."""
    return init.lower().endswith(_SUFFIXES)


def card_of(init: str, given: Given) -> published.Card | None:
    """The card of `published:NAME`, or of the file of weights that is said to be that model's.

    Raises RequestError for an unknown one, or a card beside another kind of init.
    """
    if init.startswith(published.PREFIX):
        if given.card is not None:
            raise RequestError(f"card {given.card}: init {init} names its card already; leave card out")
        return published.find_card(init.removeprefix(published.PREFIX))
    if given.card is None:
        return None
    if not is_file(init):
        raise RequestError(f"card {given.card}: says what a file of weights is of, and init {init} is no file")
    return published.find_card(given.card)


def init_identity(init: str, backbone: str | None, card: published.Card | None = None) -> str:
    """What a checkpoint's fingerprint covers of an init that is no checkpoint: `random`, `timm:TAG`, ...; light.

    Raises RequestError when a file cannot be read.
    """
    if init == "timm":
        return f"timm:{backbone}"
    if is_file(init):
        try:
            identity = file_identity(Path(init).expanduser())
        except OSError as error:
            raise RequestError(f"init {init}: cannot be read ({error.strerror}); name an existing file") from error
        file = f"file:{identity['name']}:{identity['size']}:{identity['hash']}"
        return f"{file}:{card.identity}" if card else file
    return card.identity if card else init


def check_init(init: str, backbone: str | None, given: Given | None = None) -> None:
    """Check an init that is no checkpoint, before anything runs; light, and nothing is downloaded.

    Raises RequestError: an unknown backbone, model or init, a bare timm name where weights are asked for, a missing
    file, arguments of which no model comes (of which timm is asked only where there are some).
    """
    given = given or Given()
    card = card_of(init, given)
    backbone = _backbone_of(init, backbone, card)
    if init.startswith(HUB):
        if not init.removeprefix(HUB):
            raise RequestError(f"init {init}: name the weights, such as hf-hub:timm/resnet50.a1_in1k")
        return
    if init not in ("random", "timm") and not is_file(init) and card is None:
        raise RequestError(
            f"init {init}: neither random, timm, published:NAME, hf-hub:NAME, a file ({', '.join(_SUFFIXES)}) nor a "
            "checkpoint"
        )
    if is_file(init) and not Path(init).expanduser().is_file():
        raise RequestError(f"init {init}: there is no such file; a path starts from the study's folder")
    if not backbone:
        raise RequestError(f"init {init}: give backbone, the timm name of the model")
    if init == "timm":
        check_tag(backbone)
    else:
        check_backbone(backbone)
    if given.model_args or given.pool:
        from raysweep.backbones.create import check_arguments

        arguments = {**(card.model_args if card else {}), **given.model_args}
        check_arguments(backbone, arguments, given.pool or (card.pool if card else None))


def initial_weights(
    init: str, backbone: str | None, *, seed: int, parent: Storage | None = None, licence: str | None = None,
    given: Given | None = None,
) -> Initial:  # fmt: skip
    """The weights that an init names.

    Args:
        init: random | timm | published:NAME | hf-hub:NAME | a file; not looked at when there is a parent.
        backbone: timm name; may be None with `published:`, `hf-hub:`, a card and a parent.
        seed: random weights, and those that a file is allowed to lack, are drawn from it.
        parent: folder of the checkpoint that the model starts from.
        licence: of the weights, where it is known better than timm or a card knows it.
        given: how the weights are to be read and fed. It comes before a card, and a card before what timm says.

    Raises RequestError (see `check_init`; also a file that does not hold the backbone, and all of it) or WorkError
    (no download).
    """
    given = given or Given()
    if parent is not None:
        return _from_checkpoint(parent, backbone, licence, given)
    check_init(init, backbone, given)
    if init == "timm" or init.startswith(HUB):
        return _published_by_timm(init, backbone, licence, given)
    from raysweep.backbones.create import create_backbone, preprocessing

    card = card_of(init, given)
    backbone = _backbone_of(init, backbone, card)
    assert backbone is not None
    arguments = {**(card.model_args if card else {}), **given.model_args}
    pool = given.pool or (card.pool if card else None)
    model = create_backbone(backbone, seed=seed, arguments=arguments, pool=pool)
    mean, std, _ = preprocessing(model)
    info = CheckpointInfo(backbone=backbone, arguments=arguments, pool=pool, mean=mean, std=std, init="random")
    if card:
        said = {"mean": card.mean, "std": card.std, "interpolation": card.interpolation, "mpp": card.mpp,
                "px": card.px, "sources": card.sources, "licence": card.licence.name}  # fmt: skip
        info = info.model_copy(update=said)
    info = _said(info, given, licence)
    if init == "random":
        return Initial(model.state_dict(), info)
    path = init if is_file(init) or card is None else published.fetch(card)
    return _from_file(init, Path(path).expanduser(), model, info, given, init_identity(init, backbone, card))


def _backbone_of(init: str, backbone: str | None, card: published.Card | None) -> str | None:
    if card is None:
        return backbone
    if backbone is not None and _base(backbone) != _base(card.backbone):
        raise RequestError(f"backbone {backbone}: {card.name} is a {card.backbone}; leave backbone out")
    return card.backbone


def _said(info: CheckpointInfo, given: Given, licence: str | None) -> CheckpointInfo:
    """What the keys of a study say better."""
    own = {key: getattr(given, key) for key in ("mean", "std", "interpolation") if getattr(given, key) is not None}
    return info.model_copy(
        update={**own, "licence": licence or info.licence, "sources": sorted({*info.sources, *given.seen})}
    )


def _published_by_timm(init: str, backbone: str | None, licence: str | None, given: Given) -> Initial:
    from raysweep.backbones.create import download, preprocessing

    name = backbone if init == "timm" else init
    assert name is not None
    model = download(name, given.model_args, given.pool)
    config: dict[str, Any] = getattr(model, "pretrained_cfg", {})
    mean, std, px = preprocessing(model)
    identity = init_identity(init, backbone)
    info = CheckpointInfo(
        backbone=name if init == "timm" else _hub_backbone(init, config, backbone),
        arguments={**(_hub_arguments(name) if init != "timm" else {}), **given.model_args},
        pool=given.pool,
        mean=mean, std=std, px=px,
        interpolation="bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
        licence=config.get("license"),
        sources=[identity],
        init=identity,
    )  # fmt: skip
    return Initial(model.state_dict(), _said(info, given, licence))


def _from_checkpoint(folder: Storage, backbone: str | None, licence: str | None, given: Given) -> Initial:
    model, info = load_checkpoint(folder)
    if backbone is not None and _base(backbone) != _base(info.backbone):
        raise RequestError(
            f"backbone {backbone}: the checkpoint it starts from is {info.backbone}; leave backbone out to inherit it"
        )
    if given.pool is not None:
        from raysweep.backbones.create import check_arguments

        check_arguments(info.backbone, info.arguments, given.pool)
        info = info.model_copy(update={"pool": given.pool})
    return Initial(model.state_dict(), _said(info, given, licence))


def _from_file(init: str, path: Path, model: "nn.Module", info: CheckpointInfo, given: Given, identity: str) -> Initial:
    from raysweep.backbones.keys import fit_keys, needed_keys

    content = _read(path)
    try:
        fitted = fit_keys(content, model, ordered=path.suffix.lower() != ".safetensors")
    except RequestError as error:
        raise RequestError(f"init {init}: {error}") from error
    target, needed = model.state_dict(), needed_keys(model)
    found = len(needed) - len(fitted.missing)
    if found < _LEAST_FIT * len(needed):
        raise RequestError(
            f"init {init}: only {found} of the {len(needed)} parameters and statistics of {info.backbone} are in it"
            f" (it has {_some(fitted.dropped)}; missing: {_some(fitted.missing)}); name the backbone that it holds"
        )
    refused = _not_allowed(fitted.missing, given)
    if refused:
        misfits = [key for key in fitted.dropped if " (shape " in key]
        other = f"; of another shape: {_some(misfits)}" if misfits else ""
        raise RequestError(
            f"init {init}: {len(refused)} of the {len(needed)} parameters and statistics of {info.backbone} are not in "
            f"it ({_some(refused)}{other}); name the backbone that it holds, or allow_missing what may be random"
        )
    strays = _not_allowed(fitted.strays, given)
    if strays:
        raise RequestError(
            f"init {init}: {info.backbone} has no place for {len(strays)} parameters of the trunk in it "
            f"({_some(strays)}); name the backbone that it holds, such as a deeper one, or allow_missing what may be "
            "left out"
        )
    sources = info.sources if identity.startswith(published.PREFIX) else [f"file:{path.name}", *info.sources]
    return Initial(
        {key: fitted.weights.get(key, value).to(value.dtype) for key, value in target.items()},
        info.model_copy(update={"init": identity, "sources": sources, "allow_missing": given.allow_missing}),
        fitted.dropped,
        fitted.missing,
        fitted.strays,
        fitted.notes,
    )


def _not_allowed(keys: list[str], given: Given) -> list[str]:
    return [key for key in keys if not any(fnmatch.fnmatchcase(key, glob) for glob in given.allow_missing)]


def _read(path: Path) -> dict[str, Any]:
    """What a file of weights holds. A stranger's file is never unpickled."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix.lower() == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RequestError(
            f"init {path}: holds Python objects besides tensors, which could run code when read; convert it to"
            " .safetensors where you trust it"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        text = " ".join(str(error).split())[:150]
        raise WorkError(f"init {path}: cannot be read as a file of weights ({text})") from error
    if not isinstance(content, dict):
        raise RequestError(f"init {path}: holds a {type(content).__name__} where names and tensors are needed")
    return content


def _hub_backbone(init: str, config: dict[str, Any], backbone: str | None) -> str:
    held = ".".join(filter(None, [config["architecture"], config.get("tag")]))
    if backbone is not None and _base(backbone) != _base(held):
        raise RequestError(f"backbone {backbone}: {init} holds {held}; name that one")
    return held


def _hub_arguments(name: str) -> dict[str, Any]:
    from timm.models import load_model_config_from_hf

    found = dict(load_model_config_from_hf(name.removeprefix(HUB))[2] or {})
    return {key: value for key, value in found.items() if key not in ("num_classes", "in_chans")}


def _base(backbone: str) -> str:
    """The name without its tag."""
    return backbone.partition(".")[0]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") or "none"
