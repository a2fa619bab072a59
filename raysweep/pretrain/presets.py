"""Settings of published studies, by the name of the study and the method; what a checkpoint says itself comes first.

kawai2023 (arXiv 2303.15693) takes what the authors' repository holds: 40 epochs, the mild crop of 0.8 to 1, BYOL with
LARS at 0.45 and supervised training with AdamW at 5e-4, both per 512 patches. Two things differ from it: learning rates
are scaled by true division (its integer division gives 0 below a batch of 512), and the rates of SimCLR, MoCo v2 and
DINO are those of the public repositories that it names, since the paper's own could not be found. Its BYOL adds an
online classifier to the loss, which is left out here. mormont2020 (arXiv 2005.02561) is its multi-task scheme: SGD at
a constant rate, 5,000 warm-up steps of the heads alone of 50,000.
"""

import difflib
from typing import Any

from raysweep.errors import RequestError
from raysweep.pretrain.spec import CheckpointSpec

_PER_512 = 256 / 512  # rates are stated at a batch of 256, the studies' at 512

# Keys of a checkpoint; `rate` is a learning rate at a batch of 256, scaled to the checkpoint's own.
_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "kawai2023": {
        "supervised": {
            "epochs": 100, "optimizer": "adamw", "rate": 5e-4 * _PER_512, "warmup": 0.1, "weight_decay": 5e-5,
            "clip": 1.0, "batch_norm": "reset_affine", "options": {"crop": 0.8, "dropout": 0.4},
        },
        "simclr": {
            "epochs": 40, "optimizer": "lars", "rate": 0.6 * _PER_512, "warmup": 0.1, "weight_decay": 1e-6,
            "options": {"tau": 0.1, "crop": 0.8, "colour": 0.5},
        },
        "mocov2": {
            "epochs": 40, "optimizer": "sgd", "rate": 0.03, "warmup": 0.0, "weight_decay": 1e-4,
            "options": {"tau": 0.2, "crop": 0.8},
        },
        "byol": {
            "epochs": 40, "optimizer": "lars", "rate": 0.45 * _PER_512, "warmup": 0.25, "weight_decay": 1e-6,
            "options": {"momentum": 0.99, "crop": 0.8},
        },
        "dino": {"epochs": 40, "optimizer": "adamw", "rate": 5e-4, "warmup": 0.1, "options": {}},
        "mae": {"epochs": 40, "optimizer": "adamw", "rate": 1.5e-4, "warmup": 0.05, "options": {}},
    },
    "mormont2020": {
        "multitask": {
            "steps": 50_000, "batch": 64, "optimizer": "sgd", "lr": 1e-4, "schedule": "constant", "warmup": 0.0,
            "weight_decay": 0.0, "batch_norm": "recalibrate", "options": {"head_lr_factor": 5.0, "warmup_steps": 5_000},
        },
    },
}  # fmt: skip


def with_preset(spec: CheckpointSpec) -> CheckpointSpec:
    """The checkpoint with the keys of its preset filled in where it sets none itself.

    Raises RequestError for an unknown preset, or one without the checkpoint's method.
    """
    if spec.preset is None:
        return spec
    found = _PRESETS.get(spec.preset)
    if found is None:
        near = difflib.get_close_matches(spec.preset, _PRESETS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"presets: {', '.join(_PRESETS)}"
        raise RequestError(f"preset {spec.preset}: there is none of that name; {hint}")
    if spec.method not in found:
        raise RequestError(f"preset {spec.preset}: has no settings for {spec.method}; it has {', '.join(found)}")
    keys = dict(found[spec.method])
    given = spec.model_fields_set
    if {"epochs", "steps"} & given:
        keys = {k: v for k, v in keys.items() if k not in ("epochs", "steps")}
    rate = keys.pop("rate", None)
    if rate is not None:
        keys["lr"] = rate * spec.batch / 256
    if "optimizer" in given:  # a rate is one of its optimiser
        keys.pop("lr", None)
    keys["options"] = {**keys["options"], **spec.options}
    update = {k: v for k, v in keys.items() if k not in given or k == "options"}
    return spec.model_copy(update={**update, "preset": None})
