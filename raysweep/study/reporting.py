"""The report of a study: what it is told, and making it when anything has changed."""

from raysweep import __version__
from raysweep.report.cells import CellRef, RepeatRef
from raysweep.storage import MANIFEST, Storage, fingerprint
from raysweep.study.failures import failure_of
from raysweep.study.graph import Graph
from raysweep.study.leakage import Leakage, find_leakage
from raysweep.study.patch_sets import failed_slides
from raysweep.sweep.cell import Cell


def make_report(graph: Graph) -> Storage:
    """Write `report/` unless it says already what there is to say. Returns its folder."""
    leakage = find_leakage(graph.file, graph.checkpoints, graph.patch_sets, graph.sources, graph.tasks, recorded=True)
    refs = [_cell_ref(graph, cell, leakage) for cell in graph.cells]
    state = {
        "raysweep": __version__,  # a newer one may draw another page
        "compare": graph.compare.model_dump(mode="json"),
        "recorded": graph.home.read_json("compare.json") if graph.home.exists("compare.json") else [],
        "study": graph.study.name,
        "question": graph.study.question,
        "artefacts": [[a.fingerprint, a.part, a.done()] for a in graph.artefacts()],
        "failed": [failed_slides(p.artefact.folder) for p in graph.patch_sets.values()],
        "cells": [[r.path, r.metrics, r.status, r.reason, r.further] for r in refs],
        "leakage": [[*pair, seen.word, seen.reason] for pair, seen in leakage.items()],
    }
    folder = graph.home.at("report")
    if not (folder.exists(MANIFEST) and folder.read_json(MANIFEST)["state"] == fingerprint(state)):
        from raysweep.report.write import write_report

        write_report(
            graph.home,
            study=graph.study.name,
            question=graph.study.question,
            compare=graph.compare,
            patch_sets={n: p.artefact.folder for n, p in graph.patch_sets.items()},
            checkpoints={n: [a.folder for a in p.artefacts] for n, p in graph.checkpoints.items()},
            cells=refs,
        )
        folder.write_json({"state": fingerprint(state), "inputs": state}, MANIFEST)
    return folder


def _cell_ref(graph: Graph, cell: Cell, leakage: Leakage) -> CellRef:
    repeats = []
    for repeat in cell.repeats:
        folder = repeat.artefact.folder
        reason = failure_of(repeat.artefact)
        status = "done" if repeat.artefact.done() else "failed" if reason else "waiting"
        path = folder.root.removeprefix(graph.home.root).lstrip("/")
        repeats.append(RepeatRef(repeat.number, folder, path, status, reason or ""))
    plan, card = graph.tasks[cell.task], graph.tasks[cell.task].task.card
    tests = [(cell.task,), *((cell.task, other.name) for other in plan.further)]
    return CellRef(path=f"cells/{cell.name}", checkpoint=cell.checkpoint, task=cell.task, kind=cell.kind,
                   protocol=cell.protocol, fraction=cell.fraction, metrics=tuple(card.metrics),
                   repeats=tuple(repeats), unit=card.unit,
                   seen=tuple(leakage[cell.checkpoint, *names] for names in tests),
                   further=tuple((other.name, other.task.card.unit) for other in plan.further))  # fmt: skip
