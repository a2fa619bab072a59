"""The report of a study: what it is told, and making it when anything has changed."""

from raysweep import __version__
from raysweep.report.cells import CellRef, RepeatRef
from raysweep.report.seen import WORDS
from raysweep.report.told import FILE as TOLD
from raysweep.report.umap_points import umap_installed
from raysweep.storage import MANIFEST, Storage, fingerprint
from raysweep.study.failures import failure_of
from raysweep.study.fates import Fates
from raysweep.study.graph import Graph
from raysweep.study.leakage import Leakage, find_leakage
from raysweep.study.patch_sets import failed_slides
from raysweep.study.registering import registered_keys
from raysweep.sweep.cell import Cell
from raysweep.tasks.thumbnails import thumbnails_file
from raysweep.transfer.decoders import decoder_words


def make_report(graph: Graph) -> Storage:
    """Write `report/` unless it says already what there is to say. Returns its folder."""
    leakage = find_leakage(graph.file, graph.checkpoints, graph.patch_sets, graph.sources, graph.tasks, recorded=True)
    refs, registration = _cell_refs(graph, leakage), registered_keys(graph)
    state = {
        "raysweep": __version__,  # a newer one may draw another page
        "compare": graph.compare.model_dump(mode="json"),
        "recorded": graph.home.read_json("compare.json") if graph.home.exists("compare.json") else [],
        "study": graph.study.name,
        "question": graph.study.question,
        "artefacts": [[a.fingerprint, a.part, a.done()] for a in graph.artefacts()],
        "failed": [failed_slides(p.artefact.folder) for p in graph.patch_sets.values()],
        "cells": [
            [r.path, r.metrics, r.status, r.reason, r.further, [p.path for p in r.repeats], r.decoder, r.data_set]
            for r in refs
        ],
        "registration": registration,
        "pictures": [p.artefact.folder.exists(thumbnails_file(graph.study.seed)) for p in graph.tasks.values()],
        "umap": umap_installed(),
        "subgroups": fingerprint([[s.groups for s in p.task.samples] for p in graph.tasks.values()]),
        "leakage": [[*pair, seen.word, seen.reason] for pair, seen in leakage.items()],
    }
    folder = graph.home.at("report")
    made = folder.exists(MANIFEST) and folder.exists(TOLD)
    if not (made and folder.read_json(MANIFEST)["state"] == fingerprint(state)):
        from raysweep.report.write import write_report

        write_report(
            graph.home,
            study=graph.study.name,
            question=graph.study.question,
            compare=graph.compare,
            patch_sets={n: p.artefact.folder for n, p in graph.patch_sets.items()},
            checkpoints={
                row: [a.folder for p in graph.checkpoints.values() if p.row == row for a in p.artefacts]
                for row in graph.rows
            },
            cells=refs,
            choices=[c.artefact.folder for c in graph.choices if c.artefact.done()],
            registration=registration,
            tasks={name: plan.artefact.folder for name, plan in graph.tasks.items()},
            features=_features(graph),
        )
        folder.write_json({"state": fingerprint(state), "inputs": state}, MANIFEST)
    return folder


def _features(graph: Graph) -> dict[tuple[str, str], Storage]:
    """Of each checkpoint and task the features of the first pretraining that are there."""
    found: dict[tuple[str, str], Storage] = {}
    for plan in graph.features:
        if plan.like is None and plan.artefact.done():
            checkpoint, task = plan.artefact.home.root.rsplit("/", 2)[-2:]
            found.setdefault((checkpoint, task), plan.artefact.folder)
    return found


def _cell_refs(graph: Graph, leakage: Leakage) -> list[CellRef]:
    """One for each row of the tables, task, protocol and fraction; none where a checkpoint was screened out."""
    fates = Fates(graph.choices, graph.checkpoints)
    columns: dict[tuple[str, str, str, float], list[Cell]] = {}
    for cell in graph.cells:
        if any(fates.of(cell, repeat.number) != "screened out" for repeat in cell.repeats):
            row = graph.checkpoints[cell.checkpoint].row
            columns.setdefault((row, cell.task, cell.protocol, cell.fraction), []).append(cell)
    return [_cell_ref(graph, row, points, fates, leakage) for (row, *_), points in columns.items()]


def _cell_ref(graph: Graph, row: str, points: list[Cell], fates: Fates, leakage: Leakage) -> CellRef:
    """`points`: those of a grid of which one is chosen for each repeat; else a cell alone."""
    cell = points[0]
    repeats = [_repeat_ref(graph, points, number, fates) for number in range(len(cell.repeats))]
    plan, card = graph.tasks[cell.task], graph.tasks[cell.task].task.card
    tests = [(cell.task,), *((cell.task, other.name) for other in plan.further)]
    seen = [min((leakage[point.checkpoint, *names] for point in points), key=lambda one: WORDS.index(one.word))
            for names in tests]  # fmt: skip
    path = "/".join(["cells", row, *cell.name.split("/")[1:]])
    return CellRef(path=path, checkpoint=row, task=cell.task, kind=cell.kind,
                   protocol=cell.protocol, fraction=cell.fraction, metrics=tuple(card.metrics),
                   repeats=tuple(repeats), unit=card.unit, seen=tuple(seen),
                   decoder=decoder_words(cell.decoder) if cell.decoder else "",
                   data_set=card.root,
                   further=tuple((other.name, other.task.card.unit) for other in plan.further))  # fmt: skip


def _repeat_ref(graph: Graph, points: list[Cell], number: int, fates: Fates) -> RepeatRef:
    """The repeat of the point that is chosen. Before that, it waits; or it failed, where one of the points did."""
    shown = next((point for point in points if fates.shows(point, number)), None)
    reasons = {p.checkpoint: why for p in points if (why := failure_of(p.repeats[number].artefact))}
    cell = shown or points[0]
    artefact = cell.repeats[number].artefact
    path = artefact.folder.root.removeprefix(graph.home.root).lstrip("/")
    if shown is not None:
        reason = reasons.get(shown.checkpoint, "")
        status = "done" if artefact.done() else "failed" if reason else "waiting"
    else:
        reason = next((f"{name}: {why}" for name, why in reasons.items()), "")
        status = "failed" if reason else "waiting"
    named = cell.checkpoint if shown is not None and graph.checkpoints[cell.checkpoint].choose else ""
    return RepeatRef(number, artefact.folder, path, status, reason, named)
