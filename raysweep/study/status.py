"""Where a study stands: every slide, checkpoint and cell, read from its artefacts."""

from raysweep.lease import holder
from raysweep.storage import Artefact
from raysweep.study.failures import failure_of
from raysweep.study.graph import Graph, build_graph
from raysweep.study.load import StudyFile
from raysweep.study.retry import to_tile
from raysweep.sweep.state import cell_state

Rows = list[list[str]]


def status_rows(file: StudyFile) -> tuple[str, list[str], Rows]:
    """A headline, a header and a row (what, state, details) per patch set, slide that is not done, checkpoint and cell.

    State is done, running, dead (begun, and nobody works on it), failed or waiting.
    """
    graph = build_graph(file)
    lease = holder(graph.home)
    running = lease is not None
    rows: Rows = []
    for name, plan in graph.patch_sets.items():
        state, reason = _state(plan.artefact, running)
        if state == "done" and to_tile(plan.artefact):
            reason = "the next run tries the slides that failed again"
        rows.append([f"patch set {name}", state, reason, _patches(plan.artefact)])
        rows += _slides(plan.artefact)
    for name, checkpoint in graph.checkpoints.items():
        for seed, artefact in enumerate(checkpoint.artefacts):
            label = f"checkpoint {name}" + (f" seed {seed}" if len(checkpoint.artefacts) > 1 else "")
            rows.append([label, *_state(artefact, running), _epochs(artefact)])
    rows += [_cell(graph, i, running) for i in range(len(graph.cells))]
    done = sum(a.done() for a in graph.artefacts())
    if lease:
        who = f"running: process {lease['pid']} on {lease['host']} since {lease['since']}"
    else:
        who = "nobody is running it"
    headline = f"{graph.home.root}: {done} of {len(graph.artefacts())} artefacts done; {who}"
    return headline, ["what", "state", "reason", "details"], rows


def _state(artefact: Artefact, running: bool) -> tuple[str, str]:
    if artefact.done():
        return "done", ""
    reason = failure_of(artefact)
    if reason:
        return "failed", reason
    if not artefact.folder.names():
        return "waiting", ""
    return ("running" if running else "dead"), ("" if running else "begun; run the study again to go on")


def _patches(artefact: Artefact) -> str:
    if not artefact.done():
        return ""
    counts = artefact.manifest()["counts"]
    others = f"{counts['failed']} failed, {counts['skipped']} skipped"
    return f"{counts['patches']:,} patches of {counts['done']} slides, {others}"


def _slides(artefact: Artefact) -> Rows:
    """The slides that failed or were skipped: those are what a reader looks for."""
    if not artefact.folder.exists("slides.parquet"):
        return []
    table = artefact.folder.read_table("slides.parquet", columns=["slide", "status", "reason"])
    return [[f"  slide {r['slide']}", r["status"], r["reason"], ""] for r in table.to_pylist() if r["status"] != "done"]


def _epochs(artefact: Artefact) -> str:
    if not artefact.folder.exists("metrics.jsonl"):
        return ""
    lines = artefact.folder.read_bytes("metrics.jsonl").decode().splitlines()
    return f"{len(lines)} epoch{'s' * (len(lines) != 1)}"


def _cell(graph: Graph, index: int, running: bool) -> list[str]:
    cell = graph.cells[index]
    state, reason = _state(cell.artefact, running)
    found = cell_state(cell.artefact.folder)
    ended = found.done + found.pruned + found.failed
    details = f"{ended}/{found.trials} trials, {found.finals_done}/{found.finals} finals" if found.trials else ""
    details += f", {found.pruned} stopped early" if found.pruned else ""
    details += f", {found.failed} failed" if found.failed else ""
    return [f"cell {cell.checkpoint} / {cell.task} / {cell.protocol} / {cell.fraction:g}", state, reason, details]
