"""What of a search can be done now."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from raysweep.errors import RequestError
from raysweep.storage import MANIFEST, Storage
from raysweep.study.cells import note_failure
from raysweep.study.fates import Fates
from raysweep.study.graph import Graph
from raysweep.sweep.cell import Cell


def to_search(
    graph: Graph,
    cells: Sequence[Cell],
    tried: set[tuple[str, bool]],
    awaited: Callable[[Storage], bool],
    *,
    some_stages: bool,
) -> tuple[list[Cell], bool]:
    """The cells with those of their repeats that can be worked on, as the choices stand, or are done; and whether there
    are others whose weights are to come.

    Args:
        graph: the study.
        cells: those of its cells that are asked for.
        tried: folders of the repeats that this run has tried, and whether they were to have finals.
        awaited: whether a checkpoint that is not there is to come.
        some_stages: no checkpoint is made in this run.

    Where weights are not there and do not come it is noted as a failure; RequestError with `some_stages`.
    """
    fates, todo, waits = Fates(graph.choices, graph.checkpoints), [], False
    for cell in cells:
        kept = []
        for repeat in cell.repeats:
            fate, done = fates.of(cell, repeat.number), repeat.artefact.done()
            wanted = replace(repeat, final=fate == "all")
            again = not done and (repeat.artefact.folder.root, wanted.final) in tried
            if again or fate not in ("all", "search"):
                continue
            if done or all(w.exists(MANIFEST) for w in repeat.weights):
                kept.append(wanted)
            elif any(map(awaited, repeat.weights)):
                waits = True
            elif some_stages:
                raise RequestError(
                    f"checkpoint {cell.checkpoint} is not there yet; run `raysweep pretrain` for this study first"
                )
            else:
                note_failure(repeat.artefact, f"its checkpoint {cell.checkpoint} could not be made")
        todo.append(replace(cell, repeats=tuple(kept)))
    return todo, waits
