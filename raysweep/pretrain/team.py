"""Who trains, and how: what changes no result, so that it is in no fingerprint. Light."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Saving:
    """How often a state is kept: after so many minutes, or after so many steps where they are given."""

    minutes: float = 5.0
    steps: int | None = None


@dataclass(frozen=True)
class Team:
    """`workers` ranks (at least `least`, where fewer may go on), each with `threads` CPUs; with GPUs, one for each.

    loader: who prepares batches: threads of the workers, or Ray Data on any CPUs of the cluster; auto decides.
    trackers: names of those that figures are sent to.
    """

    workers: int = 1
    threads: int = 1
    least: int | None = None
    loader: Literal["auto", "worker", "data"] = "auto"
    saving: Saving = field(default_factory=Saving)
    compile: bool = False
    trackers: tuple[str, ...] = ()
