"""The pretrainings of a study as `plan` tells them: one by one, or together where there are many of a kind."""

from collections.abc import Iterator

from raysweep.pretrain.inputs import settings
from raysweep.storage import MANIFEST, Artefact
from raysweep.study.checkpoints import CheckpointPlan
from raysweep.study.costs import Cost, Costs, total_seconds
from raysweep.study.graph import Graph

FEW = 6  # pretrainings of one row of the tables, or points of a grid, that are told one by one


def pretrainings(
    graph: Graph, patches: dict[str, int], costs: Costs
) -> Iterator[tuple[str, list[Artefact], str, Cost]]:
    """For each line of the plan: whose they are, their folders, what is to be done and what that costs.

    `patches` are those of each source, as far as it is known. Costs are added to `costs`.
    """
    for row, plans in _by_row(graph).items():
        trained = [p for plan in plans if plan.spec.method for p in plan.pretrainings]
        if len(trained) <= FEW:
            for plan in plans:
                for label, artefacts in plan.labelled():
                    done = all(artefact.done() for artefact in artefacts)
                    yield label, artefacts, *(("", Cost()) if done else _one(plan, patches, costs))
            continue
        todo = [(plan, made) for plan in plans for made in plan.pretrainings if not made.artefact.done()]
        work, each = "", [_one(plan, patches, costs) for plan, _ in todo]
        if each:
            words = sorted({text for text, _ in each})
            work = f"{_count(len(each), 'pretraining')} ({_made_of(plans)}): {words[0]}" + " and others" * (
                len(words) > 1
            )
        yield f"checkpoint {row}", [p.artefact for p in trained], work, Cost(total_seconds(cost for _, cost in each))


def pretraining_notes(graph: Graph) -> list[str]:
    """How many are to be made in all, where some are told together."""
    todo = {row: sum(not p.artefact.done() for plan in plans if plan.spec.method for p in plan.pretrainings)
            for row, plans in _by_row(graph).items()}  # fmt: skip
    many = [f"{n:,} of {row}" for row, n in todo.items() if n > FEW]
    return [f"to pretrain: {sum(todo.values()):,} checkpoints, {', '.join(many)}"] if many else []


def _by_row(graph: Graph) -> dict[str, list[CheckpointPlan]]:
    found: dict[str, list[CheckpointPlan]] = {}
    for plan in graph.checkpoints.values():
        found.setdefault(plan.row, []).append(plan)
    return found


def _made_of(plans: list[CheckpointPlan]) -> str:
    """What their number is the product of."""
    members = len({made.pool for made in plans[0].pretrainings})
    seeds = len({made.seed for made in plans[0].pretrainings})
    numbers = [(len(plans), "point"), (members, "member"), (seeds, "seed")]
    return " x ".join(_count(n, noun) for n, noun in numbers if n > 1)


def _one(plan: CheckpointPlan, patches: dict[str, int], costs: Costs) -> tuple[str, Cost]:
    """One of its pretrainings."""
    if plan.spec.method is None:
        many = len(plan.artefacts)
        return ("no training" if many == 1 else f"drawn anew for each of {many} repeats"), Cost()
    n = 0
    for source in {name: source for (name, _), source in plan.inputs.items()}.values():
        known = patches.get(source.name)
        n += int(source.folder.read_json(MANIFEST)["counts"]["patches"]) if known is None else known
    chosen = settings(plan.spec)
    assert chosen is not None
    cost = costs.of_pretraining(plan, chosen, n)
    about = "about" if plan.labelled_sets else "at most"
    passes = f"{chosen.steps:,} steps of {chosen.batch}" if chosen.steps else f"{chosen.epochs} epochs"
    return f"{passes} of {about} {n:,} patches", cost


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"
