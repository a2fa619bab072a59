"""Where a study stands: every slide, checkpoint and cell, read from its artefacts."""

from raysweep.lease import holders, who
from raysweep.patches.outcomes import read_outcomes
from raysweep.storage import Artefact
from raysweep.study.failures import failure_of
from raysweep.study.fates import OUT, Fates
from raysweep.study.graph import build_graph
from raysweep.study.load import StudyFile
from raysweep.study.patch_sets import read_by_now, to_tile
from raysweep.study.search_progress import search_progress, time_left
from raysweep.study.sources import to_write

Rows = list[list[str]]


def status_rows(file: StudyFile) -> tuple[str, list[str], Rows]:
    """A headline, a header and a row (what, state, details) per patch set and source, slide or image of it that is not
    done, checkpoint, cell and choice.

    State is done, running, dead (begun, and nobody works on it), failed, waiting or left out.
    """
    graph = build_graph(file)
    runs = holders(graph.home)
    running = bool(runs)
    rows: Rows = []
    for name, plan in graph.patch_sets.items():
        state, reason = _state(plan.artefact, running)
        if state == "done" and to_tile(plan.artefact):
            reason = "the next run tries the slides that failed again"
        if state == "waiting":  # its own folder is made last: what is known by now is in the spool
            n_read = len(read_by_now(plan, graph.home, graph.study.seed))
            state, reason = ("waiting", "") if not n_read else _begun(running)
            rows.append([f"patch set {name}", state, reason, f"{n_read}/{len(plan.slides)} slides read"])
            continue
        rows.append([f"patch set {name}", state, reason, _patches(plan.artefact)])
        rows += _slides(plan.artefact)
    for name, source in graph.sources.items():
        state, reason = _state(source.artefact, running)
        if state == "done" and to_write(source):
            reason = "the next run tries the images that failed again"
        rows.append([f"source {name}", state, reason, _patches(source.artefact, "images")])
        rows += _slides(source.artefact, "image")
    for checkpoint in graph.checkpoints.values():
        for label, artefacts in checkpoint.labelled():
            rows.append([label, *_worst([_state(a, running) for a in artefacts]), _epochs(artefacts[0])])
    fates = Fates(graph.choices, graph.checkpoints)
    searched = search_progress(graph.cells, graph.study.transfer, graph.tasks, running=running, fates=fates)
    rows += [[f"cell {cell.name}", cell.state, cell.reason, cell.words()] for cell in searched]
    for choice in filter(fates.needs, graph.choices):
        state, reason = _state(choice.artefact, running)
        chosen = ", ".join(choice.artefact.manifest()["config"]["chosen"]) if state == "done" else ""
        rows.append([choice.name, state, reason, chosen])
    out = {r.artefact.folder.root for c in graph.cells for r in c.repeats if fates.of(c, r.number) in OUT}
    out |= {c.artefact.folder.root for c in graph.choices if not fates.needs(c)}
    wanted = [a for a in graph.artefacts() if a.folder.root not in out]
    done = sum(a.done() for a in wanted)
    each = ", ".join(f"{who(run)} since {run['since']}" for run in runs)
    said = f"running: {each}" if runs else "nobody is running it"
    headline = "; ".join(
        filter(None, [f"{graph.home.root}: {done} of {len(wanted)} artefacts done", said, time_left(searched)])
    )
    return headline, ["what", "state", "reason", "details"], rows


def _state(artefact: Artefact, running: bool) -> tuple[str, str]:
    if artefact.done():
        return "done", ""
    reason = failure_of(artefact)
    if reason:
        return "failed", reason
    if not artefact.folder.names():
        return "waiting", ""
    return _begun(running)


def _begun(running: bool) -> tuple[str, str]:
    return ("running", "") if running else ("dead", "begun; run the study again to go on")


def _worst(found: list[tuple[str, str]]) -> tuple[str, str]:
    """State and reason of several: what one of them is, failed before running or dead, these before waiting."""
    return next((f for s in ("failed", "running", "dead", "waiting") for f in found if f[0] == s), ("done", ""))


def _patches(artefact: Artefact, of: str = "slides") -> str:
    if not artefact.done():
        return ""
    counts = artefact.manifest()["counts"]
    others = f"{counts['failed']} failed, {counts['skipped']} skipped"
    return f"{counts['patches']:,} patches of {counts['done']} {of}, {others}"


def _slides(artefact: Artefact, what: str = "slide") -> Rows:
    """The slides or images that failed or were skipped: those are what a reader looks for."""
    found = read_outcomes(artefact.folder)
    return [
        [f"  {what} {slide.slide}", slide.status, slide.reason or "", ""] for slide in found if slide.status != "done"
    ]


def _epochs(artefact: Artefact) -> str:
    if not artefact.folder.exists("metrics.jsonl"):
        return ""
    lines = artefact.folder.read_bytes("metrics.jsonl").splitlines()
    return f"{len(lines)} epoch{'s' * (len(lines) != 1)}"
