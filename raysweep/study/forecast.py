"""How long a study takes, from counts and speeds: arithmetic alone.

Seconds are device-seconds: of the processor threads of one trial or worker, or of a GPU. What is left out: attempts
that are lost, what journals hold already, probes of a pretraining, reading from object storage, and the report.
"""

from collections.abc import Sequence

from raysweep.transfer.speed_record import PictureCost, PretrainingSpeed, Speed

# Seconds on a processor of 2023, where a few tenths are nothing beside a training:
_TRIAL = 0.3  # weights read, a job made, journals written
_IMAGE = 3e-4  # a crop of a decoded picture, turned and put into a batch
_PIXEL = 2e-8  # of a class: windows put together, losses and counts of a map
_FROZEN, _SETTING = 0.03, 0.004  # a final without trials; the metric of a setting of its path
SEARCH_START = 15.0  # Ray, and actors that import torch; on the clock
ACTOR_START = 6.0  # of these, in each actor
_LORA = 0.75  # of a training by adapters beside one of all weights: most gradients of weights are not made


def evaluation_seconds(speed: Speed, pictures: PictureCost, images: float, *, classes: int, masks: bool) -> float:
    """Scoring images: all their windows; of masks every pixel is put together and counted."""
    counted = _PIXEL * classes * pictures.megapixels * 1e6 if masks else 0.0
    decoded = (1 - pictures.held) * pictures.decode
    return images * (pictures.windows * speed.inference + counted + decoded)


def training_seconds(speed: Speed, pictures: PictureCost, *, steps: float, batch: int, adapters: bool) -> float:
    """Steps of a fine-tuning without its evaluations."""
    image = speed.training * (_LORA if adapters else 1.0) + _IMAGE + (1 - pictures.held) * pictures.decode
    return steps * (batch * image + (speed.step * (0.1 if adapters else 1.0)))


def trial_seconds(
    training: float, evaluation: float, *, evaluations: int, share: tuple[float, float], start: float
) -> float:
    """The mean trial of a search.

    Args:
        training: of all its steps.
        evaluation: of one look at val.
        share: parts of steps and evaluations that early stopping leaves (`expected_share`).
        start: to make the network.
    """
    return _TRIAL + start + share[0] * training + share[1] * evaluations * evaluation


def final_seconds(training: float, evaluation: float, test: float, *, evaluations: int, start: float) -> float:
    """A final: a whole trial, and its test."""
    return trial_seconds(training, evaluation, evaluations=evaluations, share=(1.0, 1.0), start=start) + test


def frozen_seconds(fits: float, settings: int) -> float:
    """A final of a frozen protocol in one fold: the metric of each setting of its path, the fits, and its test."""
    return _FROZEN + _SETTING * settings + fits


def features_seconds(speed: Speed, pictures: PictureCost, images: int) -> float:
    """Features of a task's images; those that a machine holds are decoded elsewhere."""
    return speed.start + images * (pictures.windows * speed.inference + (1 - pictures.held) * pictures.decode)


def pretraining_seconds(speed: PretrainingSpeed, *, patches: float, steps: float, workers: int) -> float:
    """A pretraining's patches, seen by any of its workers; each of them has an optimiser of its own."""
    return patches * speed.patch + steps * workers * speed.step + workers * ACTOR_START


def search_clock(chains: Sequence[tuple[float, int]], at_once: float) -> float:
    """Seconds on the clock of chains of trials, (seconds, how many of them): each is one trial after another."""
    total = sum(seconds * count for seconds, count in chains)
    if not total:
        return 0.0
    return SEARCH_START + max(total / at_once, max(seconds for seconds, _ in chains))


def trial_bytes(speed: Speed, *, batch: int, adapter_rank: int | None, half: bool) -> float:
    """Memory of a fine-tuning: parameters, and of those that are trained gradients, AdamW's two averages and the best
    values so far; and what a step keeps between forward and backward pass. `half`: in bfloat16, as far as it may be.

    adapter_rank: of adapters that are trained in place of the backbone; None: all is trained.
    """
    trained = speed.parameters if adapter_rank is None else speed.adapters * adapter_rank
    new = 0 if adapter_rank is None else trained
    return 4 * (speed.parameters + new) + 16 * trained + batch * speed.kept_bytes * (0.6 if half else 1.0)
