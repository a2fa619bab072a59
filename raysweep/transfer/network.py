"""A checkpoint's backbone with a new head: a linear one for labels, a U-Net decoder for masks."""

import warnings

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.encoders import TimmUniversalEncoder
from torch import Tensor, nn

from raysweep.backbones.arguments import resolve_arguments
from raysweep.backbones.checkpoint import CheckpointInfo, load_checkpoint
from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.randomness import torch_seed
from raysweep.storage import Storage

_STRIDE = 32  # of the deepest features: what a U-Net sees is a multiple of it


class Network(nn.Module):
    """`backbone` holds the checkpoint's weights, `head` the new ones. Takes normalised images (batch, 3, px, px)."""

    backbone: nn.Module
    head: nn.Module


class Classifier(Network):
    """Logits (batch, classes) from the backbone's pooled features."""

    def __init__(self, backbone: nn.Module, features: int, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        linear = nn.Linear(features, n_classes)
        nn.init.trunc_normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)
        self.head = nn.Sequential(nn.Dropout(dropout), linear)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))


class UNet(Network):
    """Logits (batch, classes, px, px) (Ronneberger et al., MICCAI 2015), with a decoder as slim as the backbone."""

    def __init__(self, encoder: TimmUniversalEncoder, n_classes: int) -> None:
        super().__init__()
        self.backbone = encoder
        channels = decoder_channels(encoder.out_channels[-1])
        decoder = UnetDecoder(encoder.out_channels, channels, n_blocks=len(channels))
        logits = nn.Conv2d(channels[-1], n_classes, 3, padding=1)
        initialize_decoder(decoder)
        initialize_head(logits)
        self.head = nn.Sequential(decoder, logits)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        missing = (-width % _STRIDE, -height % _STRIDE)
        if any(missing):
            images = F.pad(images, (0, missing[0], 0, missing[1]), mode="replicate")
        return self.head(self.backbone(images))[..., :height, :width]


def decoder_channels(deepest: int) -> tuple[int, ...]:
    """Widths of a U-Net's five blocks for a backbone whose deepest features have so many channels.

    512 (ResNet-18): 64, 32, 16, 16, 8, which leaves most of the time to the encoder; 2048 (ResNet-50): 256, 128, 64,
    64, 32, about the original's.
    """
    first = min(256, max(64, deepest // 8))
    return first, first // 2, first // 4, first // 4, first // 8


def build_network(
    checkpoint: Storage, kind: str, *, n_classes: int, px: int, dropout: float, seed: int
) -> tuple[Network, CheckpointInfo]:
    """The network for a kind of task, its backbone from the checkpoint to the bit, its head drawn from the seed.

    Raises RequestError when the backbone cannot be used for this kind of task or at this size, WorkError when
    weights of the checkpoint have no place in the U-Net's encoder or the other way round.
    """
    backbone, info = load_checkpoint(checkpoint)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "head"))
        if kind == "classification":
            network: Network = Classifier(backbone, feature_count(backbone, info.backbone, px), n_classes, dropout)
        else:
            encoder = _encoder(info, any_size=getattr(backbone, "dynamic_img_size", False))
            _load_encoder(encoder.model, backbone.state_dict(), info.backbone)
            network = UNet(encoder, n_classes)
            _dry_run(network, info.backbone, px)
    return network, info


def feature_count(backbone: nn.Module, name: str, px: int) -> int:
    """Length of the backbone's feature vector. Raises RequestError when it cannot take images of px edge."""
    return int(_dry_run(backbone, name, px).shape[1])


def _dry_run(network: nn.Module, name: str, px: int) -> Tensor:
    network.eval()
    try:
        with torch.no_grad():
            return network(torch.zeros(1, 3, px, px))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise RequestError(
            f"backbone {name} cannot take images of {px} px ({reason_of(error)}); set the card's px to its input size"
        ) from error


def _encoder(info: CheckpointInfo, *, any_size: bool) -> TimmUniversalEncoder:
    """The backbone as a pyramid of features, randomly initialised; transformers take any size if the backbone does."""
    arguments = {**resolve_arguments(info.arguments), **({"dynamic_img_size": True} if any_size else {})}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return TimmUniversalEncoder(info.backbone, pretrained=False, **arguments)
    except Exception as error:  # timm and smp say it in many ways
        raise RequestError(
            f"backbone {info.backbone} has no pyramid of features (1/4 to 1/32 of the image) for a U-Net "
            f"({reason_of(error)}); use a convolutional or Swin-like backbone for segmentation tasks"
        ) from error


def _load_encoder(encoder: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    """Copy the checkpoint's weights into timm's features-only model, every key accounted for.

    Features-only models may join module names (stages.0 becomes stages_0) and leave out what comes after the last
    stage (a final norm or convolution). Anything else missing or left over is an error.
    """
    places = {key.replace(".", "_"): key for key in encoder.state_dict()}
    sources = {key.replace(".", "_"): key for key in weights}
    missing = [places[key] for key in places if key not in sources]
    unused = [sources[key] for key in sources if key not in places]
    left = [key for key in unused if any(place.startswith(key.split(".")[0] + "_") for place in places)]
    if missing or left:
        raise WorkError(
            f"backbone {name}: weights do not fit the U-Net's encoder (missing: {_some(missing)}; "
            f"without a place: {_some(left)})"
        )
    encoder.load_state_dict({place: weights[sources[key]] for key, place in places.items()})


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "") if keys else "none"
