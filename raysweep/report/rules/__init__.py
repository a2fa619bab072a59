"""By which rule differences are judged: `compare.rule`. One module here is one rule.

To add one, write a module that calls `register` (it is found by being in this folder) and its name in `report/spec.py`,
which checks what studies ask for. Whatever the rule, there is no verdict without the units and repeats that
`report.enough` asks for.
"""

import importlib
import pkgutil
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from raysweep.report.family import Verdict
from raysweep.report.intervals import Difference, Tester


class Judge(Protocol):
    """Verdicts of a family, as `report.family.judge` gives them."""

    def __call__(
        self,
        differences: Sequence[Difference | None],
        curves: Sequence[Hashable | None] | None = None,
        *,
        alpha: float,
        margin: float,
        correction: str = "max-t",
    ) -> list[Verdict]: ...


@dataclass(frozen=True)
class Rule:
    """name: as studies write it. said: as in `judged by ...`. test: from a contrast to a difference with its p values.

    judge: from the differences of a family to verdicts. method: what the report says of it under Methods, from the
    differences that were judged.
    """

    name: str
    said: str
    test: Tester
    judge: Judge
    method: Callable[[Sequence[Difference]], str]


_REGISTRY: dict[str, Rule] = {}


def register(rule: Rule) -> None:
    """Make a rule known by its name."""
    assert rule.name not in _REGISTRY, f"two rules are called {rule.name}"
    _REGISTRY[rule.name] = rule


def rules() -> dict[str, Rule]:
    """Every rule by name."""
    _load()
    return dict(_REGISTRY)


@cache  # the folder is listed once
def _load() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
