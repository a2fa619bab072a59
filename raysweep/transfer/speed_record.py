"""What is known of how fast something is on a machine. Light: the measuring is elsewhere, and comes with torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raysweep.backbones.given import Pool
from raysweep.transfer.decoders import DecoderChoice


@dataclass(frozen=True)
class Architecture:
    """A network before it is made; the fields are those of `dry_run`."""

    backbone: str
    arguments: Mapping[str, Any]
    pool: Pool | None
    px: int
    kind: str = "classification"
    decoder: DecoderChoice = ""
    n_classes: int = 2


@dataclass(frozen=True)
class Speed:
    """Of a network of the transfer, in seconds of a trial's processor threads or of the GPU."""

    inference: float  # of an image
    training: float = 0.0  # of an image: forward, loss and backward
    step: float = 0.0  # of a step, beside its images: the optimiser
    start: float = 0.0  # to make the network
    measured: bool = True  # False: reckoned from what it has to compute
    parameters: int = 0
    kept_bytes: float = 0.0  # of an image, float32, between forward and backward pass
    adapters: int = 0  # parameters that adapters of rank 1 would add: trained in place of the backbone's
    width: int = 0  # of a backbone's features


@dataclass(frozen=True)
class PretrainingSpeed:
    """In seconds of a worker's processor threads or of the GPU."""

    patch: float  # decoded, cropped, coloured, forward and backward
    step: float  # of a step beside its patches: the optimiser, averages over time
    measured: bool = True


@dataclass(frozen=True)
class PictureCost:
    """Means over a task's pictures."""

    decode: float  # seconds to read and decode one
    windows: float  # that cover one
    megapixels: float
    held: float  # part of all pictures that a machine holds decoded: the others are decoded each time
