"""Speeds of networks on this machine: measured once, then kept in the user's folder."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from raysweep.backbones.given import Pool
from raysweep.backbones.machine import machine
from raysweep.errors import reason_of
from raysweep.pretrain.inputs import Settings
from raysweep.study.remembered import Remembered
from raysweep.tasks.card import Card
from raysweep.tasks.task import Task
from raysweep.transfer.decoders import DecoderChoice
from raysweep.transfer.frozen import FrozenProtocol
from raysweep.transfer.protocol import get_protocol
from raysweep.transfer.speed_record import Architecture, PictureCost, PretrainingSpeed, Speed

Built = tuple[str, Mapping[str, Any], Pool | None]  # timm's name, arguments and pool of a backbone
_T = TypeVar("_T")

_FORMAT = 1  # raise it when the same is measured in another way
_MEASURING = 7.0  # seconds of this process for measuring in one plan; after them networks are reckoned
_ROUND = 1.25  # numbers of images are asked for in steps of this factor


class Speeds:
    """Answers from `~/.raysweep/cache/speeds.json`; what is not there is measured, for a bounded time, and kept.

    Nothing heavy is imported as long as every answer is known. `reckoned` names the backbones whose speed comes from
    what they have to compute, `failed` what could not be measured.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._kept = Remembered("speeds", _FORMAT)
        self._until: float | None = None
        self.measured = 0  # questions that were not known
        self.reckoned: dict[str, None] = {}
        self.failed: dict[str, str] = {}

    def finetuning(self, built: Built, card: Card, decoder: DecoderChoice) -> Speed | None:
        """Of a backbone under a head for a task; None when it cannot be run here."""

        def measure(quick: bool) -> Speed:
            from raysweep.transfer.speed import measure_finetuning

            return measure_finetuning(_architecture(built, card, decoder), rate=self._rate(), threads=self._threads,
                                      quick=quick)  # fmt: skip

        question = {"what": "finetuning", **_said(built), "px": card.px, "kind": card.kind, "decoder": decoder,
                    "classes": len(card.classes)}  # fmt: skip
        return self._network(built, question, Speed, measure)

    def features(self, built: Built, px: int) -> Speed | None:
        """Of a frozen backbone that sees pictures of px edge."""

        def measure(quick: bool) -> Speed:
            from raysweep.transfer.speed import measure_features

            return measure_features(Architecture(*built, px), rate=self._rate(), threads=self._threads, quick=quick)

        return self._network(built, {"what": "features", **_said(built), "px": px}, Speed, measure)

    def pretraining(self, built: Built, settings: Settings, patch_px: int) -> PretrainingSpeed | None:
        """Of one worker's patches."""

        def measure(quick: bool) -> PretrainingSpeed:
            from raysweep.pretrain.speed import measure_pretraining

            return measure_pretraining(settings, *built, patch_px, rate=self._rate(), threads=self._threads,
                                       quick=quick)  # fmt: skip

        same = settings.model_dump(mode="json", include={"method", "options", "px", "optimizer", "precision", "hed"})
        question = {"what": "pretraining", **_said(built), "patch_px": patch_px, **same}
        return self._network(built, question, PretrainingSpeed, measure)

    def fits(self, protocol: str, values: Sequence[float], *, n: int, width: int, n_classes: int) -> float:
        """Seconds of a frozen protocol's fits on a draw of n images."""
        how = get_protocol(protocol)
        assert isinstance(how, FrozenProtocol)
        asked = 8.0
        while asked < n:
            asked *= _ROUND
        question = {"what": "fits", "protocol": protocol, "values": list(values), "n": round(asked), "width": width,
                    "classes": n_classes}  # fmt: skip

        def measure() -> float:
            from raysweep.transfer.fit_speed import fit_seconds

            return fit_seconds(how, values, n=round(asked), width=width, n_classes=n_classes, threads=self._threads)

        return float(self._known(question, measure)) * n / asked

    def pictures(self, task: Task, identity: str) -> PictureCost:
        """Of a task with this fingerprint."""

        def measure() -> dict[str, Any]:
            from raysweep.transfer.picture_cost import picture_cost

            return asdict(picture_cost(task))

        return PictureCost(**self._known({"what": "pictures", "task": identity}, measure))

    def save(self) -> None:
        self._kept.save()

    def _network(
        self, built: Built, question: dict[str, Any], kind: Callable[..., _T], measure: Callable[[bool], Any]
    ) -> _T | None:
        def found() -> dict[str, Any]:
            if self._until is None:
                import timm  # noqa: F401 - seconds, that are not the measuring's

                self._until = time.process_time() + _MEASURING
            try:
                return asdict(measure(time.process_time() > self._until))
            except Exception as error:  # an estimate is no reason to refuse a study
                return {"failed": reason_of(error)}

        answer = self._known(question, found)
        if "failed" in answer:
            self.failed[built[0]] = answer["failed"]
            return None
        if not answer["measured"]:
            self.reckoned[built[0]] = None
        return kind(**answer)

    def _rate(self) -> float:
        def measure() -> float:
            from raysweep.backbones.machine import flops_per_second, torch_threads

            with torch_threads(self._threads):
                return flops_per_second(threads=self._threads)

        return float(self._known({"what": "rate"}, measure))

    def _known(self, question: dict[str, Any], measure: Callable[[], Any]) -> Any:
        asked = {**question, "machine": machine(), "threads": self._threads}
        answer = self._kept.get(asked)
        if answer is None:
            self.measured += 1
            answer = measure()
            self._kept.keep(asked, answer)
        return answer


def _said(built: Built) -> dict[str, Any]:
    """A tag changes the weights and not the network."""
    return {"backbone": built[0].partition(".")[0], "arguments": dict(built[1]), "pool": built[2]}


def _architecture(built: Built, card: Card, decoder: DecoderChoice) -> Architecture:
    return Architecture(*built, card.px, card.kind, decoder, len(card.classes))
