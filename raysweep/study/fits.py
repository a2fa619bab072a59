"""Which decoder each segmentation task has, and whether every checkpoint fits every task: before anything starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raysweep.backbones.checkpoint import read_info
from raysweep.backbones.given import Pool
from raysweep.backbones.init import card_of
from raysweep.errors import RequestError, WorkError
from raysweep.study.checkpoints import CheckpointPlan
from raysweep.study.remembered import Remembered
from raysweep.study.tasks import TaskPlan
from raysweep.transfer.decoders import DecoderChoice, plain
from raysweep.transfer.spec import TransferSpec

_AUTO = ("unet", "light")  # the first where every checkpoint has a pyramid of features, else the second for all
_FORMAT = 1  # raise it when the same network may fit where it did not, or the other way round


@dataclass(frozen=True)
class Fits:
    """What the dry runs of a study have shown."""

    decoders: dict[str, DecoderChoice]  # of each segmentation task, the same for every checkpoint
    px: dict[tuple[str, str], int]  # edge at which a (checkpoint, task) is seen, in pixels


def check_fits(
    transfer: TransferSpec, checkpoints: Mapping[str, CheckpointPlan], tasks: Mapping[str, TaskPlan]
) -> Fits:
    """Run every (backbone, kind of task, decoder, px) of a study once without values; what fitted is remembered.

    Architectures are known by name: no weights are read. Raises RequestError, naming checkpoint and task, for one that
    does not fit.
    """
    fitting = _Fitting(checkpoints)
    decoders, px = {}, {}
    try:
        for name, plan in tasks.items():
            card = plan.task.card
            decoder: DecoderChoice = ""
            if card.kind == "segmentation":
                decoder = decoders[name] = _decoder(transfer, fitting, card.px)
            for checkpoint in checkpoints:
                edge, reason = fitting.of(checkpoint, card.kind, card.px, decoder)
                if reason:
                    raise RequestError(f"checkpoint {checkpoint} does not fit task {name}: {reason}")
                px[checkpoint, name] = edge
    finally:
        fitting.remembered.save()
    return Fits(decoders, px)


class _Fitting:
    def __init__(self, checkpoints: Mapping[str, CheckpointPlan]) -> None:
        self._built = {name: architecture_of(plan, checkpoints) for name, plan in checkpoints.items()}
        self.remembered = Remembered("dry_runs", _FORMAT)

    def of(self, checkpoint: str, kind: str, px: int, decoder: DecoderChoice) -> tuple[int, str]:
        """The edge at which pictures are seen, or why it does not fit."""
        backbone, arguments, pool = self._built[checkpoint]
        question = {"backbone": backbone, "arguments": arguments, "pool": pool, "kind": kind, "px": px,
                    "decoder": decoder}  # fmt: skip
        known = self.remembered.get(question)
        if known is None:
            from raysweep.transfer.dry_run import dry_run  # torch and timm: seconds

            try:
                known = [dry_run(backbone, kind, arguments=arguments, pool=pool, px=px, decoder=decoder), ""]
            except (RequestError, WorkError) as error:
                known = [0, str(error)]
            self.remembered.keep(question, known)
        return int(known[0]), str(known[1])

    def all_fit(self, kind: str, px: int, decoder: DecoderChoice) -> bool:
        return not any(self.of(checkpoint, kind, px, decoder)[1] for checkpoint in self._built)


def _decoder(transfer: TransferSpec, fitting: _Fitting, px: int) -> DecoderChoice:
    if transfer.decoder != "auto":
        try:
            return plain(transfer.decoder)
        except RequestError as error:
            raise RequestError(f"transfer.{error}") from error
    first, second = _AUTO
    return first if fitting.all_fit("segmentation", px, first) else second


def architecture_of(
    plan: CheckpointPlan, known: Mapping[str, CheckpointPlan]
) -> tuple[str, dict[str, Any], Pool | None]:
    """How timm builds a checkpoint's backbone, as far as it can be said without its weights."""
    spec = plan.spec
    assert spec.backbone is not None  # every checkpoint has one by now
    start = plan.pretrainings[0].init
    if plan.parent is not None:
        backbone, arguments, pool = architecture_of(known[plan.parent], known)
    elif start is not None:
        info = read_info(start)
        backbone, arguments, pool = info.backbone, dict(info.arguments), info.pool
    else:
        card = card_of(spec.init, spec)
        backbone = spec.backbone
        arguments, pool = ({**card.model_args}, card.pool) if card else ({}, None)
    return backbone, {**arguments, **spec.model_args}, spec.pool or pool
