"""What decides a checkpoint: its training's resolved settings, and what its fingerprint covers. Light."""

from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from raysweep.errors import RequestError
from raysweep.model import Model, problem
from raysweep.patches.recipe import Recipe
from raysweep.pretrain import methods
from raysweep.pretrain.method import Method
from raysweep.pretrain.presets import with_preset
from raysweep.pretrain.spec import CheckpointSpec

FORMAT = 2  # part of every checkpoint's fingerprint: raise it when the same inputs give other weights


class Settings(Model):
    """How a checkpoint is trained, with every default filled in. One of `epochs` and `steps` is set."""

    method: str
    options: dict[str, Any]
    epochs: int | None
    steps: int | None
    batch: int
    accumulate: int
    px: int | None
    optimizer: str
    betas: tuple[float, float] | None
    lr: float
    schedule: str
    warmup: float
    weight_decay: float
    weight_decay_end: float | None
    clip: float | None
    batch_norm: str
    hed: float
    precision: str

    def recipes(self, px: int) -> list[Recipe]:
        """How the views of each patch are drawn; `px` is the edge of what the network sees."""
        return [replace(recipe, hed=self.hed) for recipe in make_method(self.method, self.options).views(px)]


def method_names() -> list[str]:
    """The pretraining methods there are."""
    return methods.method_names()


def check_method(spec: CheckpointSpec) -> None:
    """Raises RequestError for an unknown method (with the nearest name), or options or sources that it cannot take."""
    if spec.method is None:
        return
    spec = with_preset(spec)
    method = make_method(spec.method or "", spec.options)
    if spec.accumulate > 1 and not method.accumulates:
        raise RequestError(
            f"accumulate: {spec.method} compares the patches of a batch with each other, so parts of it are another "
            "computation; leave accumulate out and choose a smaller batch"
        )


def make_method(name: str, options: dict[str, Any]) -> Method:
    """A method with its options. Raises RequestError as `check_method`."""
    method = methods.find_method(name)
    try:
        return method(method.Options.model_validate(options))
    except ValidationError as error:
        key, message, first = problem(error)
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(method.Options.model_fields))
            raise RequestError(f"options.{key}: method {name} has no such option; it has {known}") from error
        message = message[0].lower() + message[1:]
        raise RequestError(f"options.{key}: {message} (given: {first['input']!r}, method {name})") from error


def settings(spec: CheckpointSpec) -> Settings | None:
    """The settings of a checkpoint's training; None without a method. Raises RequestError as `check_method`."""
    if spec.method is None:
        return None
    check_method(spec)
    spec = with_preset(spec)
    method = make_method(spec.method or "", spec.options)
    optimizer = spec.optimizer or method.optimizer
    scale = spec.batch / method.lr_batch
    if method.lr_rule == "sqrt":
        scale = scale**0.5
    by_steps = spec.steps or (None if spec.epochs else method.steps)
    end = method.weight_decay_end if spec.weight_decay is None else None
    return Settings(
        method=spec.method or "",
        options=method.options.model_dump(mode="json"),
        epochs=None if by_steps else spec.epochs or method.epochs,
        steps=by_steps,
        batch=spec.batch,
        accumulate=spec.accumulate,
        px=spec.px,
        optimizer=optimizer,
        betas=method.betas if optimizer == "adamw" else None,
        lr=method.lr_of(optimizer) * scale if spec.lr is None else spec.lr,
        schedule=spec.schedule,
        warmup=method.warmup if spec.warmup is None else spec.warmup,
        weight_decay=method.weight_decay if spec.weight_decay is None else spec.weight_decay,
        weight_decay_end=end if spec.weight_decay_end is None else spec.weight_decay_end,
        clip=method.clip if spec.clip is None else spec.clip,
        # the statistics of random weights are those of nothing: there is nothing to carry over
        batch_norm=spec.batch_norm or ("keep" if spec.init == "random" else method.batch_norm),
        hed=spec.hed,
        precision=spec.precision,
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
        **spec.covered(init),
    }
