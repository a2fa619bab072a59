"""Have the weights seen what they are tested on? A word for each checkpoint and task, and a refusal."""

import difflib
from collections.abc import Mapping

from raysweep.errors import RequestError
from raysweep.report.seen import COLLECTION, IMAGES, LABELS, NONE, UNKNOWN, WORDS, Seen
from raysweep.study.checkpoints import CheckpointPlan, Pretraining
from raysweep.study.exposure import Exposure, Exposures
from raysweep.study.load import StudyFile
from raysweep.study.matching import Shown, TaskUnits, same_collection
from raysweep.study.patch_sets import PatchSetPlan
from raysweep.study.sources import SourcePlan
from raysweep.study.tasks import TaskPlan
from raysweep.tasks.splits import folds

Leakage = dict[tuple[str, ...], Seen]  # by checkpoint and task; of a further test set, by that as well

_NAMED = 3  # units that one sentence names


def find_leakage(
    file: StudyFile,
    checkpoints: Mapping[str, CheckpointPlan],
    patch_sets: Mapping[str, PatchSetPlan],
    sources: Mapping[str, SourcePlan],
    tasks: Mapping[str, TaskPlan],
    *,
    recorded: bool = False,
) -> Leakage:
    """What each checkpoint has seen of what each task tests, its further test sets included.

    Every fold is judged by the weights that it starts from.

    The word is the worst over folds and pretrainings. `recorded`: see `Exposures`.
    """
    exposures = Exposures(file, checkpoints, patch_sets, sources, recorded=recorded)
    found: Leakage = {}
    for task, plan in tasks.items():
        held_out = [frozenset(plan.task.samples[i].unit for i in f.test) for f in folds(plan.task, file.study.seed)]
        tests: list[tuple[tuple[str, ...], TaskUnits, list[frozenset[str]]]]
        tests = [((task,), TaskUnits(plan.task), held_out)]
        tests += [((task, f.name), TaskUnits(f.task), [f.units] * len(held_out)) for f in plan.further]
        for name, checkpoint in checkpoints.items():
            for names, tested, of_folds in tests:
                found[name, *names] = _worst(checkpoint, task, tested, of_folds, exposures, file.study.transfer.repeats)
    return found


def check_leakage(found: Leakage, allowed: list[str]) -> None:
    """Raise RequestError for a checkpoint that was taught with labels of what it is tested on, unless it is allowed."""
    known = ["/".join(names) for names in found]
    for pair in allowed:
        if pair not in known:
            near = difflib.get_close_matches(pair, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "name one as CHECKPOINT/TASK"
            raise RequestError(f"allow_leakage: {pair} is no checkpoint and task of this study; {hint}")
    for (checkpoint, task, *further), seen in found.items():
        pair = "/".join([checkpoint, task, *further])
        if seen.word == LABELS and pair not in allowed:
            what = f"test set {further[0]} of task {task}" if further else f"task {task}"
            raise RequestError(
                f"checkpoints.{checkpoint}: it is taught with labels of what {what} tests ({seen.reason}); leave "
                "them out (exclude: tasks on a patch set, leave_out on the checkpoint), or list "
                f"{pair} under allow_leakage, and every number will be marked"
            )


def leakage_notes(found: Leakage) -> list[str]:
    """Lines for people: each pair that is not clear, what is unknown once for a checkpoint, and how many are clear."""
    told = [(c, s.test_set, s) for (c, *_), s in found.items() if s.word not in (NONE, UNKNOWN)]
    notes = list(dict.fromkeys(f"{c} on {test_set}: {s.word} ({s.reason})" for c, test_set, s in told))
    reasons: dict[tuple[str, str], list[str]] = {}
    for (checkpoint, task, *_), seen in found.items():
        if seen.word == UNKNOWN:
            reasons.setdefault((checkpoint, seen.reason), []).append(task)
    notes += [f"{checkpoint}: {UNKNOWN} what it has seen ({reason})" for checkpoint, reason in reasons]
    clear = sum(seen.word == NONE for seen in found.values())
    if clear:
        notes.append(
            f"{NONE} of test units among what was seen: {clear} of {len(found)} pairs of checkpoint and test set"
        )
    return notes


def _worst(
    checkpoint: CheckpointPlan,
    task: str,
    tested: TaskUnits,
    held_out: list[frozenset[str]],
    exposures: Exposures,
    repeats: int,
) -> Seen:
    """The worst word for the weights that the folds of a task start from; `held_out` are the units that each tests."""
    starts: dict[tuple[object, ...], tuple[Pretraining, set[str]]] = {}  # and the units of all folds that it starts
    for fold, units in enumerate(held_out):
        for repeat in range(repeats):
            made = checkpoint.of(task, fold, repeat)
            key = (made.pool, made.init.root if made.init else None)  # seeds of one pool see the same
            starts.setdefault(key, (made, set()))[1].update(units)
    words = [_judge(exposures.of(checkpoint, made), tested, units) for made, units in starts.values()]
    return min(words, key=lambda one: WORDS.index(one.word))


def _judge(exposure: Exposure, tested: TaskUnits, units: set[str]) -> Seen:
    """The word for weights and the units that they are tested on."""
    shared = [(source, labels, tested.units_in(source) & units) for source, labels in exposure.shown]
    for word, of_labels in ((LABELS, True), (IMAGES, False)):
        both = [(source, own) for source, labels, own in shared if own and labels is of_labels]
        if both:
            return Seen(tested.name, word, _shared(both, tested, len(units)))
    declared = {name.casefold() for name in exposure.declared}
    if tested.name.casefold() in declared:
        return Seen(tested.name, IMAGES, f"it is said to have seen {tested.name} itself")
    declared = {name for name in declared if not name.startswith("imagenet")}
    of = [f"the source {source.source}" for source, *_ in shared if tested.of_collection(source)]
    of += [name for name in sorted(exposure.declared) if same_collection({name.casefold()}, tested.all_collections)]
    if of:
        return Seen(tested.name, COLLECTION, f"{of[0]} and {tested.name} are of one collection")
    if exposure.unknown:
        return Seen(tested.name, UNKNOWN, exposure.unknown)
    if declared and not tested.all_collections:
        names = ", ".join(sorted(exposure.declared))
        return Seen(tested.name, UNKNOWN, f"it has seen {names}, and the card of {tested.name} names no collection")
    return Seen(tested.name, NONE)


def _shared(both: list[tuple[Shown, frozenset[str]]], tested: TaskUnits, total: int) -> str:
    """`2 of 9 test patients are in source tissue: P1, P2`; where only names are equal, `share the name of one in`."""
    all_of = sorted({unit for _, own in both for unit in own})
    names = ", ".join(all_of[:_NAMED]) + (f" and {len(all_of) - _NAMED} more" if len(all_of) > _NAMED else "")
    where = " and ".join(dict.fromkeys(source.source.rpartition("/")[2] for source, _ in both))
    one = len(all_of) == 1
    verb = ("is" if one else "are") + " in"
    if not any(tested.surely_in(source) & own for source, own in both):
        verb = f"{'shares' if one else 'share'} the name of one in"
    return f"{len(all_of)} of {total} test {tested.kind_of_unit}s {verb} {where}: {names}"
