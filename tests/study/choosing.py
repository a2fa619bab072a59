"""A study of toy cells whose checkpoints are chosen among: the rounds of `raysweep tune` without Ray."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raysweep.lease import sharing
from raysweep.progress import Progress
from raysweep.storage import MANIFEST, Artefact, Storage
from raysweep.study import stages
from raysweep.study.choices import ChoicePlan, check_choices, plan_choices
from raysweep.study.model import Study
from raysweep.study.stages import Stages
from raysweep.sweep.cell import Cell
from raysweep.transfer import protocols
from raysweep.transfer.job import Chosen, Evaluation, Job, Run
from tests.sweep.toy import Toy, ToyRun, ToySettings, simulate, toy_cells

TRANSFER = {"protocols": ["toy", "probe"], "repeats": 2, "trials": 3, "steps": 40, "evaluations": 2, "val": 0.2}


class ProbeRun(ToyRun):
    """Two settings, cross-validated; the later letter of a checkpoint is better at it."""

    def advance(self) -> Evaluation | None:
        if self.done == 2:
            return None
        self.done += 1
        value = 0.1 * (ord(self.job.checkpoint.root[-1]) - ord("a")) + 0.01 * (self.job.seed % 3) - 0.2 * self.done
        return Evaluation(self.done, None, 1 - value, 0.5 + value, {"lr": 0.1 * self.done})

    def chosen(self) -> Chosen:
        return Chosen({"lr": 0.1}, "cross-validation by patient, 5 folds", "")


class Probe(Toy):
    """A frozen protocol."""

    name = "probe"
    frozen = True
    budget = frozenset()

    def start(self, job: Job) -> Run:
        return ProbeRun(job, ToySettings(lr=1e-3, drop=0.1))


class Choosing:
    """Checkpoints are letters; `grids` are those of which one is chosen: name -> (letters, rule)."""

    def __init__(
        self, folder: Path, patch: pytest.MonkeyPatch, *, checkpoints: str = "abc",
        grids: Mapping[str, tuple[str, str]] | None = None, tasks: tuple[str, ...] = ("t0",),
        baseline: str | None = None, leave_out: Any = None, choose_by: str | None = None, **transfer: Any,
    ) -> None:  # fmt: skip
        patch.setitem(protocols._registry, "toy", Toy())
        patch.setitem(protocols._registry, "probe", Probe())
        self.study = Study.model_validate(
            {"name": "toys", "storage": str(folder), "checkpoints": {"any": {}}, "tasks": list(tasks),
             "transfer": TRANSFER | transfer, "compare": {"baseline": baseline, "primary": {"protocol": "toy"}}}
        )  # fmt: skip
        self.folder, self._patch = folder, patch
        of = {letter: (grid, rule) for grid, (letters, rule) in (grids or {}).items() for letter in letters}
        self.checkpoints: dict[str, Any] = {
            name: SimpleNamespace(name=name, grid=of.get(name, ("", None))[0], choose=of.get(name, ("", None))[1],
                                  choose_by=choose_by if name in of else None,
                                  row=of.get(name, (name, None))[0] or name,
                                  spec=SimpleNamespace(leave_out=leave_out), artefacts=[], pretrainings=[])
            for name in checkpoints
        }  # fmt: skip
        card = SimpleNamespace(kind="classification")
        self.tasks: Any = {task: SimpleNamespace(task=SimpleNamespace(card=card), n_folds=2,
                                                 artefact=SimpleNamespace(folder=None)) for task in tasks}  # fmt: skip
        check_choices(self.study, self.checkpoints, self.tasks)
        self.cells = [cell for task in tasks for cell in self._cells(task)]
        home = Storage.open(folder / "toys")
        self.choices: list[ChoicePlan] = plan_choices(self.study, home, self.checkpoints, self.tasks, self.cells)
        self.graph: Any = SimpleNamespace(
            home=home, study=self.study, checkpoints=self.checkpoints, tasks=self.tasks, cells=self.cells,
            choices=self.choices, features=[], compare=self.study.compare)  # fmt: skip
        self.rounds: list[
            list[str]
        ] = []  # what each was given: `a t0 toy 0`, with ` search` where it is searched alone

    def tune(self, *, kill: int | None = None) -> list[list[str]]:
        """The stage `tune`; `kill`: the driver dies in the middle of that event of a journal. Returns its rounds."""
        self.rounds = []

        def search(cells: list[Cell], *_: object) -> SimpleNamespace:
            repeats = [(c, r) for c in cells for r in c.repeats if not r.artefact.done()]
            self.rounds.append([f"{c.checkpoint} {c.task} {c.protocol} {r.number}{'' if r.final else ' search'}"
                                for c, r in repeats])  # fmt: skip
            simulate(cells, self.study.transfer, at_once=2, events=kill)
            return SimpleNamespace(left=[], others=frozenset())

        self._patch.setattr(stages, "search_cells", search)
        self._patch.setattr(stages, "make_thumbnails", lambda *_, **__: None)  # toys have no images
        self._patch.setattr(Stages, "_want", lambda work, train: None)
        with sharing(self.graph.home) as claims:
            Stages(self.graph, None, Progress(quiet=True), ExitStack(), claims, some_stages=False).tune()
        return self.rounds

    def tested(self, protocol: str = "toy") -> list[str]:
        """The repeats of a protocol that have a final: `a t0 1`."""
        return sorted(f"{c.checkpoint} {c.task} {r.number}" for c in self.cells if c.protocol == protocol
                      for r in c.repeats if r.artefact.done())  # fmt: skip

    def _cells(self, task: str) -> list[Cell]:
        transfer = self.study.transfer
        found = []
        for own in toy_cells(self.folder / task, transfer, checkpoints="".join(self.checkpoints), folds=2):
            for weights in (w for r in own.repeats for w in r.weights):
                weights.write_json({}, MANIFEST)
            for protocol in transfer.protocols_for("classification"):
                repeats = []
                for repeat in own.repeats:
                    home = repeat.artefact.home.at(protocol)
                    made = Artefact(home, {**repeat.artefact.inputs, "protocol": protocol}, repeat.artefact.part)
                    features = (Storage.open(self.folder),) if protocol == "probe" else ()
                    repeats.append(replace(repeat, artefact=made, features=features))
                found.append(replace(own, task=task, protocol=protocol, repeats=tuple(repeats)))
        return found
