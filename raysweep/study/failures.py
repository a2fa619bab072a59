"""Everything of a study that failed, one line each, read from its artefacts."""

from collections import Counter

from raysweep.storage import Artefact
from raysweep.study.graph import Graph
from raysweep.sweep.state import FAILED


def failure_of(artefact: Artefact) -> str | None:
    """Why the last attempt at an artefact failed, or None."""
    if artefact.done() or not artefact.folder.exists(FAILED):
        return None
    return str(artefact.folder.read_json(FAILED)["reason"])


def failures(graph: Graph) -> list[str]:
    """Slides, checkpoints, images, cells and trials that failed, in the study's order."""
    lines = []
    for name, plan in graph.patch_sets.items():
        reason = failure_of(plan.artefact)
        if reason:
            lines.append(f"patch set {name}: {reason}")
        if plan.artefact.folder.exists("slides.parquet"):
            table = plan.artefact.folder.read_table("slides.parquet", columns=["slide", "status", "reason"])
            lines += [f"slide {r['slide']} of patch set {name}: {r['reason']}"
                      for r in table.to_pylist() if r["status"] == "failed"]  # fmt: skip
    for name, checkpoint in graph.checkpoints.items():
        lines += [f"checkpoint {name}: {reason}" for a in checkpoint.artefacts if (reason := failure_of(a))]
    for name, task in graph.tasks.items():
        lines += [f"image {sample} of task {name}: {reason}" for sample, reason in task.task.excluded]
    for cell in graph.cells:
        label = f"cell {cell.checkpoint} / {cell.task} / {cell.protocol} / {cell.fraction:g}"
        reason = failure_of(cell.artefact)
        if reason:
            lines.append(f"{label}: {reason}")
        if cell.artefact.folder.exists("trials.parquet"):
            table = cell.artefact.folder.read_table("trials.parquet", columns=["status", "reason"])
            reasons = Counter(r["reason"] for r in table.to_pylist() if r["status"] == "failed")
            lines += [f"{label}: {n} failed trial{'s' * (n > 1)} ({why})" for why, n in sorted(reasons.items())]
    return lines
