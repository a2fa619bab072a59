"""Any timm backbone as maps of features: a pyramid, or a plain transformer's tokens at several depths."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import timm
import torch.nn.functional as F
from timm.models._features import FeatureGetterNet  # timm exports its other kinds only
from torch import Tensor, nn

from raysweep.backbones.arguments import resolve_arguments
from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.transfer.decoder import Maps

_DEPTHS = 4  # blocks of a plain transformer whose tokens are taken, evenly spaced, the last among them


class FeatureMaps(nn.Module):
    """Float (batch, 3, h, w) to maps (batch, channels, h', w'), the shallowest first. `model` is timm's."""

    def __init__(
        self, model: nn.Module, maps: Maps, *, blocks: tuple[int, ...] = (), norm: bool = False, pads_to: int = 1
    ) -> None:
        """`blocks`: what is asked of timm's `forward_intermediates`; none: the model gives maps by itself.

        `norm`: with the model's last norm. A picture is padded at its lower and right edge, by its own pixels, to a
        multiple of `pads_to`.
        """
        super().__init__()
        self.model = model
        self.maps = maps
        self._blocks, self._norm, self._pads_to = list(blocks), norm, pads_to
        self._channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        padded = self.padded(height, width)
        if padded != (height, width):
            images = F.pad(images, (0, padded[1] - width, 0, padded[0] - height), mode="replicate")
        if self._blocks:
            return list(
                self.model.forward_intermediates(  # type: ignore[operator]
                    images, indices=self._blocks, norm=self._norm, intermediates_only=True
                )
            )
        maps = self.model(images)
        return [m.permute(0, 3, 1, 2).contiguous() for m in maps] if self._channels_last else list(maps)

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """The size of the picture that the maps are of."""
        return height + -height % self._pads_to, width + -width % self._pads_to


def feature_maps(
    backbone: nn.Module, name: str, arguments: Mapping[str, Any], *, output_stride: int | None = None
) -> FeatureMaps:
    """A backbone's maps, with its weights to the bit.

    Of a plain transformer (all tokens of one stride) the patch tokens after four evenly spaced blocks, normalised by
    its last norm; of everything else the stages that timm names.

    Args:
        backbone: as `load_checkpoint` gives it. It may become a part of what is returned.
        name: timm's, with the arguments that it was built with.
        output_stride: for the deepest features by dilation, 8 or 16; a backbone that cannot be dilated keeps its own.

    Raises RequestError when timm has no maps of it, WorkError when weights have no place or the other way round.
    """
    info: Any = getattr(backbone, "feature_info", None) or []
    strides = {int(level["reduction"]) for level in info if isinstance(level, dict)}
    if len(strides) == 1 and hasattr(backbone, "forward_intermediates"):
        blocks = _spread(len(info))
        return FeatureMaps(backbone, _maps([info[i] for i in blocks]), blocks=blocks, norm=True)
    given = {**resolve_arguments(arguments)}
    if getattr(backbone, "dynamic_img_size", False):
        given["dynamic_img_size"] = True
    model = _stages(name, given, output_stride)
    found: Any = model.feature_info
    maps = Maps(tuple(found.channels()), tuple(found.reduction()))
    if isinstance(model, FeatureGetterNet):  # timm's own would leave out weights: the backbone itself gives the same
        return FeatureMaps(backbone, maps, blocks=tuple(range(len(maps.strides))), pads_to=max(maps.strides))
    _fill(model, backbone.state_dict(), name)
    return FeatureMaps(model, maps, pads_to=_full_stride(info, maps))


def _spread(blocks: int) -> tuple[int, ...]:
    """Evenly spaced, the last among them: 2, 5, 8, 11 of 12."""
    return tuple(dict.fromkeys(max(0, blocks * (i + 1) // _DEPTHS - 1) for i in range(_DEPTHS)))


def _maps(levels: list[dict[str, Any]]) -> Maps:
    return Maps(tuple(level["num_chs"] for level in levels), tuple(level["reduction"] for level in levels))


def _full_stride(info: Any, maps: Maps) -> int:
    """The stride of the deepest features when nothing is dilated: what a picture's edge is padded to a multiple of."""
    return max([*maps.strides, *(int(level["reduction"]) for level in info if isinstance(level, dict))])


def _stages(name: str, given: dict[str, Any], output_stride: int | None) -> nn.Module:
    """timm's model of the stages, randomly initialised; dilated where timm can do it."""
    if output_stride:
        with suppress(AssertionError, TypeError, NotImplementedError):  # this architecture has no such argument
            return timm.create_model(name, features_only=True, **given, output_stride=output_stride)
    try:
        return timm.create_model(name, features_only=True, **given)
    except Exception as error:  # timm says it in many ways
        raise RequestError(
            f"backbone {name} gives timm no maps of features ({reason_of(error)}); use another for segmentation tasks"
        ) from error


def _fill(model: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Copy the checkpoint's weights into timm's features-only model, every key accounted for.

    Features-only models may join module names (stages.0 becomes stages_0), put all under `body`, and leave out what
    comes after the last stage: modules of other names, or the last weights of the backbone. Anything else missing or
    left over is an error, and so is another shape.
    """
    places = {key.removeprefix("body.").replace(".", "_"): key for key in model.state_dict()}
    sources = {key.replace(".", "_"): key for key in weights}
    missing = [places[key] for key in places if key not in sources]
    last = max((i for i, key in enumerate(sources) if key in places), default=-1)
    unused = [sources[key] for key in list(sources)[:last] if key not in places]
    left = [key for key in unused if any(place.startswith(key.split(".")[0] + "_") for place in places)]
    if missing or left:
        raise WorkError(
            f"backbone {name}: weights do not fit its maps of features (missing: {_some(missing)}; "
            f"without a place: {_some(left)})"
        )
    try:
        model.load_state_dict({place: weights[sources[key]] for key, place in places.items()})
    except RuntimeError as error:
        raise WorkError(f"backbone {name}: weights do not fit its maps of features ({reason_of(error)})") from error


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "") if keys else "none"
