"""The weights that a model starts from: random, published, a file, or another checkpoint."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysweep.addresses import at_home
from raysweep.backbones import published
from raysweep.backbones.checkpoint import CheckpointInfo, Reference, file_of, hash_of, load_checkpoint
from raysweep.backbones.file_kind import file_kind
from raysweep.backbones.given import Given
from raysweep.backbones.names import check_backbone, check_tag, is_tag
from raysweep.errors import RequestError
from raysweep.storage import Storage, file_identity

if TYPE_CHECKING:
    from torch import Tensor, nn

HUB = "hf-hub:"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar", ".torch")


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


def weights_folder(path: Path) -> str | None:
    """What to do with an init that is a folder of somebody else's, such as the hub's; None where it is none."""
    if not path.is_dir():
        return None
    files = sorted(file.name for file in path.iterdir() if is_file(file.name))
    return f"is a folder; name the file of weights in it{f', such as {path / files[0]}' if files else ''}"


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
            identity = file_identity(at_home(init))
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
        if name := published.forbids(init):  # a card's weights are kept by reference
            raise RequestError(f"init {init}: its licence forbids to copy these weights; write init: published:{name}")
        return
    if init not in ("random", "timm") and not is_file(init) and card is None:
        if folder := weights_folder(at_home(init)):
            raise RequestError(f"init {init}: {folder}")
        raise RequestError(
            f"init {init}: neither random, timm, published:NAME, hf-hub:NAME, a file ({', '.join(_SUFFIXES)}) nor a "
            "checkpoint"
        )
    if is_file(init):
        if not at_home(init).is_file():
            raise RequestError(f"init {init}: there is no such file; a path starts from the study's folder")
        file_kind(at_home(init))
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
    path = at_home(init).absolute() if is_file(init) or card is None else Path(published.fetch(card))
    found = _from_file(init, path, model, info, given, init_identity(init, backbone, card))
    if card is None or card.licence.redistribution != "forbidden":
        return found
    file = path.as_posix() if is_file(init) else None
    reference = Reference(card=card.name, hash=hash_of(found.weights), file=file, seed=seed if found.missing else 0)
    return replace(found, info=found.info.model_copy(update={"reference": reference}))


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
    if info.reference:
        reference = info.reference.model_copy(update={"file": file_of(folder, info.reference)})
        info = info.model_copy(update={"reference": reference})
    return Initial(model.state_dict(), _said(info, given, licence))


def _from_file(init: str, path: Path, model: "nn.Module", info: CheckpointInfo, given: Given, identity: str) -> Initial:
    from raysweep.backbones.weight_file import read_weights

    found = read_weights(path, model, name=info.backbone, init=init, allow_missing=given.allow_missing)
    sources = info.sources if identity.startswith(published.PREFIX) else [f"file:{path.name}", *info.sources]
    info = info.model_copy(update={"init": identity, "sources": sources, "allow_missing": given.allow_missing})
    return Initial(found.weights, info, found.dropped, found.missing, found.strays, found.notes)


def _hub_backbone(init: str, config: dict[str, Any], backbone: str | None) -> str:
    held = ".".join(filter(None, [config["architecture"], config.get("tag")]))
    if "." in held and not is_tag(held):  # a tag of its owner's own, by which timm builds nothing
        held = config["architecture"]
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
