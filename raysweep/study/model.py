"""The study: one YAML that names patch sets, checkpoints, tasks, how to transfer and what to compare."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from raysweep.model import Model
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.pretrain.team import Saving, Team
from raysweep.report.spec import CompareSpec
from raysweep.slides.spec import PatchSetSpec
from raysweep.transfer.spec import TransferSpec

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._=+-]*$"  # names become folders


class Prices(Model):
    """Dollars for an hour of one node: `plan` multiplies before a run, and the run while it has nodes."""

    cpu: float | None = Field(
        None, ge=0, le=1e6, description="of a node that tiles, and trains where there are no GPUs"
    )
    gpu: float | None = Field(None, ge=0, le=1e6, description="of a node with GPUs")


class Compute(Model):
    """How much of the machine or cluster to use. Recorded, never part of a fingerprint."""

    cpus: int | None = Field(None, ge=1, description="CPUs to use here, or to ask of a cluster; default: all")
    gpus: int | None = Field(None, ge=1, description="GPUs to ask of a cluster that scales; default: those it has")
    node_cpus: int = Field(16, ge=1, description="CPUs of a node that tiles, as in cluster.yaml; for `plan`")
    node_gpus: int = Field(1, ge=1, description="GPUs of a node that trains, as in cluster.yaml; for `plan`")
    prices: Prices | None = Field(None, description="what nodes cost an hour: `plan` and the run say dollars")
    workers: int = Field(2, ge=1, description="workers of one pretraining (DDP ranks)")
    least_workers: int | None = Field(None, ge=1, description="a pretraining goes on with so few; default: all")
    threads: int = Field(1, ge=1, description="CPU threads of one worker or trial")
    pretrainings_at_once: int | None = Field(None, ge=1, description="default: as many as the CPUs or GPUs allow")
    loader: Literal["auto", "worker", "data"] = Field(
        "auto", description="who decodes for a pretraining; data: Ray Data"
    )
    save_minutes: float = Field(5.0, gt=0, description="minutes between the states of a pretraining")
    save_steps: int | None = Field(None, ge=1, description="steps between them, in place of minutes")
    compile: bool = Field(False, description="compile a pretraining's step with torch.compile")
    trackers: list[Literal["wandb", "mlflow"]] = Field(
        [], description="where a pretraining's figures are sent, beside metrics.jsonl and TensorBoard"
    )
    trials_at_once: int | None = Field(None, ge=1, description="default: as many as the CPUs or GPUs allow")
    stop_after_hours: float | None = Field(
        None, gt=0, description="a run's search starts no trial after so long; the next run goes on"
    )
    stop_after_trials: int | None = Field(
        None, ge=1, description="a run's search starts so many trials; the next run goes on"
    )
    tile_workers: int | None = Field(None, ge=1, description="default: one for each CPU")
    cut_mpx: int = Field(128, ge=1, le=1024, description="megapixels of patches in a tiling worker: its memory")
    keep_spool: bool = Field(
        True, description="false: tiling results of single slides go when their patch set is complete"
    )
    fetch_gb: float = Field(50, gt=0, description="GB of slides from object storage kept on a node's disk")

    @model_validator(mode="after")
    def _fewer(self) -> "Compute":
        if self.least_workers is not None and self.least_workers > self.workers:
            raise ValueError(f"least_workers: {self.least_workers} is more than workers, {self.workers}")
        return self

    def team(self) -> Team:
        """Who trains in a pretraining, and how. Where GPU nodes are asked for, the pool that tiled is given back: its
        nodes that are idle still are not to decode for a training, which would keep them.
        """
        saving = Saving(self.save_minutes, self.save_steps)
        loader = "worker" if self.loader == "auto" and self.gpus else self.loader
        return Team(self.workers, self.threads, self.least_workers, loader, saving, self.compile,
                    tuple(self.trackers))  # fmt: skip

    @property
    def fetch_bytes(self) -> int:
        return int(self.fetch_gb * 1e9)


class TaskEntry(Model):
    """A task with more than its card."""

    card: str | dict[str, Any] = Field(description="the name of a card in datasets/, or a card in full")
    test_sets: list[str] = Field(
        [], description="other tasks of the study, or names of cards: the task's finals are tested on them as well"
    )

    @field_validator("test_sets")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("name every set once")
        return value


class About(Model):
    """What a reader of `raysweep studies` is told of a study that ships. It changes nothing."""

    needs: str = Field(description="the data, below the folder `data`")
    cost: str = Field(description="about how long, on what")


class Study(Model):
    """A whole study. Nothing runs before it has been read and checked."""

    name: str = Field(pattern=_NAME, description="letters, digits and . _ - = +")
    question: str | None = Field(None, description="what the study asks: the title of its report")
    about: About | None = Field(None, description="what it needs and what it costs, for `raysweep studies`")
    storage: str = Field("runs", description="folder or filesystem address (s3://, gs://) for all artefacts")
    data: str | None = Field(None, description="folder that the tasks' files stand below")
    seed: int = Field(0, ge=0)
    patches: dict[str, PatchSetSpec] = Field({}, description="patch sets made from slides")
    checkpoints: dict[str, CheckpointSpec] = Field(min_length=1)
    tasks: list[str | dict[str, Any]] = Field(
        [], description="names of cards in datasets/, cards in full, or {card: ..., test_sets: [...]}"
    )
    accept_licences: list[str] = Field([], description="cards whose restricted licence you have accepted")
    allow_leakage: list[str] = Field(
        [],
        description="CHECKPOINT/TASK pairs to go on with although the one has seen test labels of the other; for a "
        "further test set CHECKPOINT/TASK/SET",
    )
    transfer: TransferSpec = TransferSpec()
    compare: CompareSpec = CompareSpec()
    compute: Compute = Compute()

    @field_validator("patches", "checkpoints")
    @classmethod
    def _named(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not re.match(_NAME, name):
                raise ValueError(f"{name!r} cannot be a name: use letters, digits and . _ - = +")
        return value
