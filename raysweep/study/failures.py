"""Everything of a study that failed, one line each, read from its artefacts."""

from collections import Counter

from raysweep.json_file import mapping
from raysweep.patches.outcomes import read_outcomes
from raysweep.storage import Artefact
from raysweep.study.graph import Graph
from raysweep.study.patch_sets import failed_slides
from raysweep.sweep.cell import Cell
from raysweep.sweep.state import FAILED


def failure_of(artefact: Artefact) -> str | None:
    """Why the last attempt at an artefact failed, or None."""
    if artefact.done() or not artefact.folder.exists(FAILED):
        return None
    told = mapping(artefact.folder.read_json(FAILED), artefact.folder.path(FAILED))
    return str(told.get("reason", "for a reason that is not known"))


def failures(graph: Graph) -> list[str]:
    """Slides, checkpoints, images, cells and trials that failed, in the study's order."""
    lines = []
    for name, plan in graph.patch_sets.items():
        reason = failure_of(plan.artefact)
        if reason:
            lines.append(f"patch set {name}: {reason}")
        lines += [
            f"slide {slide.slide} of patch set {name}: {slide.reason}"
            for slide in read_outcomes(plan.artefact.folder)
            if slide.status == "failed"
        ]
    for name, source in graph.sources.items():
        reason = failure_of(source.artefact)
        if reason:
            lines.append(f"source {name}: {reason}")
        left_out = [] if source.tested else source.task.excluded  # those of a task are told with it
        failed = [*failed_slides(source.artefact.folder).items(), *left_out]
        lines += [f"image {image} of source {name}: {why}" for image, why in failed]
    for name, checkpoint in graph.checkpoints.items():
        lines += [f"checkpoint {name}: {reason}" for a in checkpoint.artefacts if (reason := failure_of(a))]
    for name, task in graph.tasks.items():
        lines += [f"image {sample} of task {name}: {reason}" for sample, reason in task.task.excluded]
    others = {other.name: other.task for task in graph.tasks.values() for other in task.further}
    for name, left in others.items():
        if name not in graph.tasks:  # those of a task are told with it
            lines += [f"image {sample} of test set {name}: {reason}" for sample, reason in left.excluded]
    for cell in graph.cells:
        lines += _of_cell(cell)
    lines += [f"{choice.name}: {reason}" for choice in graph.choices if (reason := failure_of(choice.artefact))]
    return lines


def _of_cell(cell: Cell) -> list[str]:
    """Repeats that failed, those whose final gave no value, and failed trials by their reason."""
    label = f"cell {cell.name.replace('/', ' / ')}"
    lines: list[str] = []
    failed: dict[str, list[int]] = {}
    trials: Counter[str] = Counter()
    for repeat in cell.repeats:
        folder = repeat.artefact.folder
        if not repeat.artefact.done():
            reason = failure_of(repeat.artefact)
            if reason:
                failed.setdefault(reason, []).append(repeat.number)
            continue
        counts = repeat.artefact.manifest()["counts"]
        if counts["failed_finals"]:
            reason = folder.read_table("final.parquet", columns=["reason"])["reason"][0].as_py()
            failed.setdefault(f"no value ({reason})", []).append(repeat.number)
        if counts["failed"]:
            table = folder.read_table("trials.parquet", columns=["status", "reason"])
            trials.update(row["reason"] for row in table.to_pylist() if row["status"] == "failed")
    for reason, numbers in failed.items():
        lines.append(f"{label}: repeat{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}: {reason}")
    return lines + [f"{label}: {n} failed trial{'s' * (n > 1)} ({why})" for why, n in sorted(trials.items())]
