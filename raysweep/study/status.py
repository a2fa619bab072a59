"""Where a study stands: every slide, checkpoint and cell, read from its artefacts; and what is to be tiled again."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from raysweep.lease import holder
from raysweep.patches.write import INDEX
from raysweep.storage import MANIFEST, Artefact, Storage, fingerprint
from raysweep.study.failures import failure_of
from raysweep.study.graph import Graph, build_graph
from raysweep.study.load import StudyFile
from raysweep.sweep.state import cell_state

_BEFORE = "before.json"  # what a patch set was, while slides that failed are tried again

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


def to_tile(artefact: Artefact) -> bool:
    """Whether a patch set is not complete, or has slides that failed and that could be read this time.

    A slide whose file was missing is no such slide: with its file the set has another fingerprint.
    """
    if not artefact.done():
        return True
    there = {slide["name"] for slide in artefact.inputs["slides"] if "identity" in slide}
    return not there.isdisjoint(failed_slides(artefact))


def failed_slides(artefact: Artefact) -> dict[str, str]:
    """The slides of a patch set that failed, with their reasons; none while it is not complete."""
    if not artefact.done() or not artefact.manifest()["counts"]["failed"]:
        return {}
    table = artefact.folder.read_table("slides.parquet", columns=["slide", "status", "reason"])
    return {row["slide"]: row["reason"] for row in table.to_pylist() if row["status"] == "failed"}


@contextmanager
def reopened(artefact: Artefact, changed: Callable[[], None] = lambda: None) -> Iterator[Artefact]:
    """A patch set as `tile` may write it, be it complete or not, and tried again for its failed slides or not.

    It is not complete meanwhile: should it come to hold something else, its shards go before the new ones are there.
    `changed` is called then, before it is complete again: it must see to it that nothing made from the old ones
    counts as made from the new. A set that comes to hold the same has its shards untouched and its old manifest, and
    so has one that nothing was written to when the block ends with an error.
    """
    folder = artefact.folder
    before = None
    if artefact.done():
        before = {"manifest": artefact.manifest(), "index": folder.read_json(INDEX)}
        slides = _outcomes(folder)
        folder.write_json(before, _BEFORE)
        folder.remove(MANIFEST)
    try:
        yield _Reopened(artefact.home, artefact.inputs, changed=changed)
    except BaseException:
        if before and slides == _outcomes(folder) and _has_shards(folder, before["index"]):
            folder.write_json(before["manifest"], MANIFEST)
            folder.remove(_BEFORE)
        raise


@dataclass(frozen=True)
class _Reopened(Artefact):
    changed: Callable[[], None] = field(kw_only=True)

    def commit(self, *, config: Any, counts: Mapping[str, Any], timings: Mapping[str, float]) -> None:
        # Left by this run, or by one that was killed: the set was complete then, and things may have been made from it.
        before = self.folder.read_json(_BEFORE) if self.folder.exists(_BEFORE) else None
        if before and before["index"] == self.folder.read_json(INDEX):
            self.folder.write_json(before["manifest"] | {"counts": dict(counts)}, MANIFEST)
        else:
            if before:
                self.changed()
            super().commit(config=config, counts=counts, timings=timings)
        self.folder.remove(_BEFORE)


def _outcomes(folder: Storage) -> str:
    return fingerprint(folder.read_table("slides.parquet").to_pylist())


def _has_shards(folder: Storage, index: Mapping[str, Any]) -> bool:
    return {shard["name"] for shard in index["shards"]}.issubset(folder.names("shards"))
