"""What decides a checkpoint: its training's resolved settings, and what its fingerprint covers. Light."""

from typing import Any

from pydantic import ValidationError

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.pretrain import methods
from raysweep.pretrain.method import Method
from raysweep.pretrain.spec import CheckpointSpec

FORMAT = 1  # part of every checkpoint's fingerprint: raise it when the same inputs give other weights


class Settings(Model):
    """How a checkpoint is trained, with every default filled in."""

    method: str
    options: dict[str, Any]
    epochs: int
    batch: int
    px: int | None
    optimizer: str
    lr: float
    weight_decay: float
    warmup: float


def method_names() -> list[str]:
    """The pretraining methods there are."""
    return methods.method_names()


def check_method(spec: CheckpointSpec) -> None:
    """Raises RequestError for an unknown method (with the nearest name), or options or sources that it cannot take."""
    if spec.method is None:
        return
    method = make_method(spec.method, spec.options)
    if not method.takes_pool and (not isinstance(spec.patches, str) or spec.leave_out or spec.join):
        able = [name for name in methods.method_names() if methods.find_method(name).takes_pool]
        raise RequestError(
            f"method {spec.method} is trained on one patch set; several sources, leave_out and join are for "
            f"{' and '.join(able) or 'methods that take a pool, and none of them is here yet'}"
        )


def make_method(name: str, options: dict[str, Any]) -> Method:
    """A method with its options. Raises RequestError as `check_method`."""
    method = methods.find_method(name)
    try:
        return method(method.Options.model_validate(options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(method.Options.model_fields))
            raise RequestError(f"options.{key}: method {name} has no such option; it has {known}") from error
        message = first["msg"][0].lower() + first["msg"][1:]
        raise RequestError(f"options.{key}: {message} (given: {first['input']!r}, method {name})") from error


def settings(spec: CheckpointSpec) -> Settings | None:
    """The settings of a checkpoint's training; None without a method. Raises RequestError as `check_method`."""
    if spec.method is None:
        return None
    method = make_method(spec.method, spec.options)
    optimizer = spec.optimizer or method.optimizer
    return Settings(
        method=spec.method,
        options=method.options.model_dump(mode="json"),
        epochs=spec.epochs,
        batch=spec.batch,
        px=spec.px,
        optimizer=optimizer,
        lr=method.lr[optimizer] * spec.batch / 256 if spec.lr is None else spec.lr,
        weight_decay=method.weight_decay if spec.weight_decay is None else spec.weight_decay,
        warmup=spec.warmup,
    )


def checkpoint_inputs(
    spec: CheckpointSpec, *, seed: int, pretraining_seed: int, init: str, patches: str | list[list[Any]] | None
) -> dict[str, Any]:
    """What a checkpoint's fingerprint covers.

    Args:
        spec: the checkpoint's entry in the study.
        seed: the study's.
        pretraining_seed: which of the checkpoint's independent pretrainings this is.
        init: fingerprint of the init checkpoint, else `backbones.init.init_identity`.
        patches: fingerprint of what is seen of the source, if any; of a pool, that and the weight of each.

    Raises RequestError as `check_method`.
    """
    training = settings(spec)
    return {
        "stage": "checkpoint",
        "format": FORMAT,
        "backbone": spec.backbone,
        "init": init,
        "licence": spec.licence,
        "training": training and training.model_dump(mode="json"),
        "patches": patches,
        "seed": seed,
        "pretraining_seed": pretraining_seed,
    }
