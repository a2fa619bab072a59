"""Whether a backbone is large: told by its name where that is enough, because importing timm takes seconds."""

import functools
import json
import re
from collections.abc import Mapping
from typing import Any

LARGE = 300_000_000  # parameters

# What timm's names of models with so many parameters have in them; many smaller ones have it too.
_WORDS = re.compile(
    "large|huge|giant|gigantic|enormous|[0-9]b_|[0-9]{3}m|nfnet_f[4-9]|regnety_(1280|2560)|x32d|x[34]_bit|50x64"
    "|_l2|_m48|mci4|coatnet_5"
)


def is_large(name: str, arguments: Mapping[str, Any] | None = None) -> bool:
    """Whether a timm model, built with these arguments, has more than 300 million parameters. Allocates nothing."""
    if not arguments and not _WORDS.search(name.partition(".")[0]):
        return False
    return _parameters(name, json.dumps(dict(arguments or {}), sort_keys=True)) > LARGE


@functools.cache
def _parameters(name: str, arguments: str) -> int:
    import torch

    from raysweep.backbones.create import create_backbone

    with torch.device("meta"):
        model = create_backbone(name, seed=0, arguments=json.loads(arguments))
    return sum(parameter.numel() for parameter in model.parameters())
