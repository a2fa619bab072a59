"""What will be compared, fixed before anything runs: the `compare:` key of a study."""

from typing import Literal

from pydantic import Field

from raysweep.model import Model


class Primary(Model):
    """The comparison that the report's verdicts are about; everything else is shown as secondary."""

    protocol: str = "finetune"
    metric: str | None = Field(None, description="default: the task's own")


class CompareSpec(Model):
    """Baseline, margin and level of the comparison."""

    baseline: str | None = Field(None, description="checkpoint that the others are compared with; default: the first")
    primary: Primary = Primary()
    margin: float = Field(0.02, ge=0, description="differences smaller than this do not matter")
    alpha: float = Field(0.05, gt=0, lt=1, description="level of intervals and tests, over a task's comparisons")
    rule: Literal["crossed", "wilcoxon", "nadeau-bengio", "two-sd"] = Field(
        "crossed",
        description="what judges a difference: crossed covers test units and repeats; wilcoxon (units alone), "
        "nadeau-bengio (repeats alone) and two-sd (no test) are for comparison with other work",
    )
    over_tasks: Literal["wilcoxon-holm", "nemenyi"] = Field(
        "wilcoxon-holm", description="what tells pairs of checkpoints apart over tasks, from six data sets on"
    )
    correction: Literal["max-t", "holm"] = Field(
        "max-t",
        description="for the many comparisons of a task, under rule crossed: max-t uses that they share units, repeats "
        "and baseline; other rules have Holm's, or none",
    )
