"""A network put together and run once without values: whether a backbone fits a task, before anything is made."""

from collections.abc import Mapping
from typing import Any

import torch

from raysweep.backbones.create import create_backbone
from raysweep.backbones.given import Pool
from raysweep.errors import RequestError, reason_of
from raysweep.transfer.decoders import DecoderChoice
from raysweep.transfer.network import assemble

_CLASSES = 2  # how many there are changes nothing of what fits


def dry_run(
    backbone: str, kind: str, *, arguments: Mapping[str, Any], pool: Pool | None, px: int, decoder: DecoderChoice
) -> int:
    """The edge in pixels at which a backbone would see a task of a kind; no weights are made or read.

    backbone, arguments, pool: as `create_backbone` takes them; px: the card's; decoder: of segmentation alone.

    Runs the whole network in training mode on the meta device, on two pictures. Raises RequestError for what does not
    fit, saying what to use.
    """
    with torch.device("meta"):
        built = create_backbone(backbone, seed=0, arguments=arguments, pool=pool).eval()
        network = assemble(built, kind, name=backbone, arguments=arguments, n_classes=_CLASSES, px=px, dropout=0.0,
                           decoder=decoder)  # fmt: skip
        try:
            out = network.train()(torch.zeros(2, 3, px, px))
        except Exception as error:  # timm's models and the decoders say it in many ways
            raise RequestError(
                f"backbone {backbone} cannot be trained on images of {px} px ({reason_of(error)}); use another "
                "backbone or decoder"
            ) from error
    expected = (2, _CLASSES) if kind == "classification" else (2, _CLASSES, px, px)
    if tuple(out.shape) != expected:
        raise RequestError(f"backbone {backbone} gives {tuple(out.shape)} for a task of {kind}; use another backbone")
    return network.own_px
