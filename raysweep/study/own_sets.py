"""Patch sets that tasks of the same study are made from: they are tiled before anything else can be known."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from raysweep.errors import RequestError, WorkError
from raysweep.lease import sharing
from raysweep.progress import Progress
from raysweep.slides.identity import Identities
from raysweep.storage import Storage
from raysweep.study.load import StudyFile
from raysweep.study.patch_sets import PatchSetPlan, make_patch_set, plan_patch_sets, to_tile
from raysweep.study.tasks import TaskCards, load_cards


def plan_own_sets(
    file: StudyFile, home: Storage, identities: Identities, cards: Sequence[TaskCards]
) -> dict[str, PatchSetPlan]:
    """The patch sets that `cards` are made from, done or not; empty for most studies.

    Raises RequestError for a card whose root names no patch set of the study, and for a set that leaves slides out for
    the tasks' sake.
    """
    names: dict[str, str] = {}
    for card in (card for task in cards for card in (task.card, *task.test_sets)):
        if name := card.own_set:
            names.setdefault(name, card.name)
    if not names:
        return {}
    for name, task in names.items():
        where, spec = f"task {task}: root: patches:{name}", file.study.patches.get(name)
        if spec is None:
            known = ", ".join(file.study.patches) or "none"
            raise RequestError(f"{where}: this study has no patch set of that name; it has {known}")
        if spec.exclude:
            raise RequestError(f"patches.{name}.exclude: task {task} is made from this patch set; leave exclude out")
    own = file.study.model_copy(update={"patches": {name: file.study.patches[name] for name in names}})
    return plan_patch_sets(replace(file, study=own), home, identities, {})


def waiting_sets(file: StudyFile) -> dict[str, PatchSetPlan]:
    """Those that are not there yet. Raises RequestError as `plan_own_sets`."""
    home = Storage.open(file.study.storage).at(file.study.name)
    plans = plan_own_sets(file, home, Identities(home), load_cards(file))
    return {name: plan for name, plan in plans.items() if not plan.artefact.done()}


def check_made(plans: dict[str, PatchSetPlan]) -> None:
    """Raise RequestError when one is not there yet: its tasks are not known before."""
    missing = [name for name, plan in plans.items() if not plan.artefact.done()]
    if missing:
        raise RequestError(
            f"tasks of this study are made from its patch sets, of which {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not there yet; `raysweep tile` of this study makes them"
        )


def make_own_sets(file: StudyFile, home: Storage, progress: Progress, stack: ExitStack) -> None:
    """Tile those that are not there, or whose slides failed; Ray stays up for what follows, until `stack` is closed.

    One process at a time tiles for a study.

    Raises WorkError when one could not be tiled, and RequestError as `plan_own_sets`.
    """
    identities = Identities(home)
    todo = [p for p in plan_own_sets(file, home, identities, load_cards(file)).values() if to_tile(p.artefact)]
    if not todo:
        return
    from raysweep.study.nodes import Nodes  # brings ray

    study, compute = file.study, file.study.compute
    paths = sorted({slide.path.rsplit("/", 1)[0] for plan in todo for slide in plan.slides})
    nodes = Nodes(compute, home, paths, progress, stack)
    waits = lambda who: progress.say(f"waiting for {who}, which tiles")  # noqa: E731
    with sharing(home) as claims, claims.turn(home.at("patches"), waits):
        identities.save()
        for plan in todo:
            if not to_tile(plan.artefact):
                continue  # somebody else has tiled it meanwhile
            nodes.want(train=False)  # no GPU waits while slides are tiled
            try:
                make_patch_set(plan, home, seed=study.seed, compute=compute, progress=progress)
            except WorkError as error:
                raise WorkError(f"patch set {plan.name}, which tasks are made from: {error}") from error
        nodes.give_back()
