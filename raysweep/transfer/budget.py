"""How long a training is, and when it is looked at."""

import math
from typing import Any

# Of `transfer:`, for keys that the study does not give. light: which of many checkpoints are worth a real study, in a
# seventh of the steps that the defaults take; full: four times as many steps, for what is to be published
BUDGETS: dict[str, dict[str, Any]] = {
    "light": {"repeats": 3, "trials": 4, "steps": 250, "evaluations": 4},
    "full": {"repeats": 12, "trials": 16, "steps": "auto", "evaluations": 8},
}

_STEPS, _IMAGES = 500, 5000  # steps for up to so many images


def auto_steps(images: int) -> int:
    """Training steps for a task with so many training images: 500 up to 5,000, growing with the square root beyond.

    `images` is the whole training part of the task, whatever fraction of it is drawn: steps that grew with the
    fraction would bend the curve that is studied.
    """
    return round(_STEPS * math.sqrt(max(1.0, images / _IMAGES)))


def evaluation_steps(steps: int, evaluations: int) -> list[int]:
    """The steps after which a training is evaluated, ascending: the last is `steps`, each earlier one 1/sqrt(2) of it.

    Every second one is half of another, so that early stopping finds an evaluation at a half and at a quarter of the
    budget, and the early ones, which decide least, are as dense as the late ones on the scale on which learning slows
    down. There are fewer than `evaluations` where steps are so few that some would coincide.
    """
    return sorted({max(1, round(steps / math.sqrt(2) ** i)) for i in range(evaluations)})
