"""Linear probe: multinomial logistic regression on the frozen backbone's standardised features."""

from pydantic import Field

from raysweep.model import Model
from raysweep.transfer.job import Job, Protocol, Run
from raysweep.transfer.protocols import register


class LinearSettings(Model):
    C: float = Field(gt=0, description="inverse strength of the L2 penalty")


@register
class Linear(Protocol):
    name = "linear"
    kinds = frozenset({"classification"})
    frozen = True
    adaptation = "frozen"
    budget = frozenset({"trials", "val", "select"})
    why_not = "it fits one label per image; use finetune for segmentation tasks"

    def settings(self, kind: str) -> type[LinearSettings]:
        return LinearSettings

    def start(self, job: Job) -> Run:
        from raysweep.transfer.linear_run import LinearRun  # sklearn

        return LinearRun(job)
