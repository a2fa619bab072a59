"""Checkpoints that differ by what they are tested on: the pool that each (task, fold) is pretrained on.

A pretraining that draws from labelled sets may see the very images that it is tested on later. A family keeps them
apart: `leave_out` trains without the target's group, `join` with the train split of the target's fold.
"""

import difflib
from collections.abc import Iterable, Mapping

from raysweep.errors import RequestError
from raysweep.pretrain.spec import CheckpointSpec

Entry = tuple[str, int | None]  # a source, and of a labelled set the fold whose train split is used; None: all of it
Pool = tuple[Entry, ...]


def pools_of(spec: CheckpointSpec, tasks: Mapping[str, int]) -> dict[tuple[str, int], Pool]:
    """What the member for each (task, fold) is pretrained on; empty for a checkpoint that is no family.

    `tasks` are the study's, with their numbers of folds. A task of the pool that no group of `leave_out` names is left
    out alone; a task outside the pool takes the whole pool. Equal pools are one member.

    Raises RequestError when a group names what is not in the pool, names a task twice, or leaves nothing.
    """
    if spec.leave_out is None and spec.join is None:
        return {}
    sources = spec.sources
    group_of = _groups(spec, sources)
    found: dict[tuple[str, int], Pool] = {}
    for task, folds in tasks.items():
        left = group_of.get(task, {task})
        rest: Pool = tuple((source, None) for source in sources if source not in left)
        for fold in range(folds):
            pool = (*rest, (task, fold)) if spec.join else rest
            if not pool:
                raise RequestError(f"leave_out: nothing is left to pretrain on for task {task}; add sources to patches")
            found[task, fold] = pool
    return found


def _groups(spec: CheckpointSpec, sources: Iterable[str]) -> dict[str, set[str]]:
    """The group of each source that is left out together with others."""
    known = list(sources)
    groups: dict[str, set[str]] = {}
    for group in spec.leave_out if isinstance(spec.leave_out, list) else []:
        for name in group:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"they are {', '.join(known)}"
                raise RequestError(f"leave_out: {name} is not among the sources under patches; {hint}")
            if name in groups:
                raise RequestError(f"leave_out: {name} is in two groups; name it once")
            groups[name] = set(group)
    return groups
