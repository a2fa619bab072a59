"""What was found: estimates of cells, comparisons with the baseline, and what they say of a task as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from raysweep.report.cells import CellRef
from raysweep.report.crossover import Crossover
from raysweep.report.drop import Drop
from raysweep.report.family import Verdict
from raysweep.report.intervals import Difference, Interval
from raysweep.report.worth import Worth


@dataclass(frozen=True)
class Estimate:
    """A cell with results: its value over repeats with an interval, and how many labels it was given.

    n_images, n_train_units: labelled images and their units, n_val_images, n_val_units those of them that settings
    were chosen by; means over repeats, rounded. pretrainings: how many pretrainings of the checkpoint its repeats
    started from. lacking: a sentence for each planned repeat that has no value. best: found better than every other
    checkpoint of its column (same task and fraction, primary protocol), all pairs of the task corrected together.
    at_edge: settings whose chosen value lies at an end of their range in half of the repeats or more.
    """

    cell: CellRef
    metric: str
    interval: Interval
    n_images: int
    n_train_units: int
    n_val_images: int
    n_val_units: int
    n_test_images: int
    n_folds: int
    pretrainings: int
    unit: str
    lacking: tuple[str, ...] = ()
    best: bool = False
    at_edge: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every planned repeat has a value."""
        return not self.lacking

    @property
    def repeats(self) -> str:
        """`5 repeats`, or `4 of 5 repeats`."""
        planned = len(self.cell.repeats)
        count = str(planned) if self.complete else f"{planned - len(self.lacking)} of {planned}"
        return f"{count} repeat{'s' * (planned != 1)}"


@dataclass(frozen=True)
class Comparison:
    """A checkpoint against the baseline on one task, test set, protocol and fraction.

    verdict: None outside the primary family, where p values are not corrected and nothing is concluded.
    reason: why `difference` is None, or what the verdict does not allow for: repeats that have no value.
    lacks: whether the checkpoint, and whether the baseline, lacks the value of a planned repeat.
    mark: what stands beside the difference, because the one or the other has seen what it is tested on.
    fractions: what it is the mean over, where it is one over label fractions; `cell` is that of the last one then.
    """

    cell: CellRef
    metric: str
    difference: Difference | None
    verdict: Verdict | None
    reason: str
    lacks: tuple[bool, bool] = (False, False)
    mark: str = ""
    fractions: tuple[float, ...] = ()

    @property
    def primary(self) -> bool:
        return self.verdict is not None

    @property
    def why(self) -> str:
        """Why there is no difference or no verdict, or what the verdict does not allow for; else empty."""
        judged = self.verdict.reason if self.verdict else ""
        return self.reason or judged or (self.difference.reason if self.difference else "")


@dataclass(frozen=True)
class Pair:
    """Two checkpoints of one task and fraction: the first minus the second, judged among all pairs of the task."""

    first: str
    second: str
    fraction: float
    difference: Difference
    verdict: Verdict


@dataclass(frozen=True)
class TaskFindings:
    """The family of one task, under the primary protocol and on its own test set.

    comparisons: of every checkpoint with the baseline at every fraction; means: over fractions, where there are
    several. crossovers: by checkpoint, as places in `fractions`. best: the checkpoints that may be the best at each
    fraction; under None of the mean over fractions (of the only one). pairs: of all checkpoints at every fraction.
    worth: by checkpoint, what it is worth in labels; empty with a single fraction.
    """

    task: str
    metric: str
    fractions: tuple[float, ...]
    comparisons: list[Comparison]
    means: list[Comparison] = field(default_factory=list)
    crossovers: dict[str, Crossover] = field(default_factory=dict)
    best: dict[float | None, tuple[str, ...]] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    worth: dict[str, Worth] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """Everything the report says about checkpoints.

    estimates: cells with results, by `CellRef.key`. comparisons: in the order of columns, then checkpoints. tasks: the
    primary family of each. drops: of cells on further test sets.
    """

    baseline: str
    estimates: dict[str, Estimate]
    comparisons: list[Comparison]
    tasks: list[TaskFindings] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)

    @cached_property  # there may be many tasks, and each is asked for its own estimates more than once
    def of_task(self) -> Mapping[tuple[str, str], Sequence[Estimate]]:
        """Estimates on the tasks' own test sets, by task and protocol."""
        out: dict[tuple[str, str], list[Estimate]] = {}
        for e in self.estimates.values():
            if not e.cell.tested_on:
                out.setdefault((e.cell.task, e.cell.protocol), []).append(e)
        return out

    @cached_property
    def family(self) -> Mapping[str, TaskFindings]:
        """The primary family of each task by its name."""
        return {found.task: found for found in self.tasks}
