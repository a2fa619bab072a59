"""Find and remove artefacts that a study, as it stands, does not use."""

import pyarrow.fs as pafs

from raysweep.errors import RequestError
from raysweep.lease import lease
from raysweep.patches.shuffle.spool import SlideSpool
from raysweep.slides.inputs import spool_inputs
from raysweep.slides.labels.classes import classes_of
from raysweep.storage import Storage
from raysweep.study.graph import Graph, build_graph
from raysweep.study.load import StudyFile

_DEPTHS = {
    "patches": 2,
    "checkpoints": 2,
    "tasks": 2,
    "features": 3,
    "cells": 6,
    "choices": 5,
}  # room -> levels to an artefact


def unused(file: StudyFile) -> list[tuple[str, int]]:
    """Folders below the study's that its current configuration does not use, each with its size in bytes."""
    graph = build_graph(file)
    used = {a.folder.root for a in graph.artefacts()} | _spools(graph)
    found = [s for room, depth in _DEPTHS.items() for s in _below(graph.home.at(room), depth) if s.root not in used]
    found += [s for s in _below(graph.home.at("spool"), 1) if s.root not in used]
    return [(s.root.removeprefix(graph.home.root + "/"), _bytes(s)) for s in found]


def _spools(graph: Graph) -> set[str]:
    """Tiling results that the study's slides would take from the spool."""
    spool, seed = graph.home.at("spool"), graph.study.seed
    used = {spool.path("kin")}
    used |= {spool.path("native")} if any(p.spec.mpp == "native" for p in graph.patch_sets.values()) else set()
    for plan in graph.patch_sets.values():
        classes = classes_of(plan.spec.labels, [s.label for s in plan.slides if s.label is not None])
        used |= {
            SlideSpool.find(spool, spool_inputs(plan.spec, slide, seed, classes=classes, copy=copy)).folder.root
            for slide in plan.artefact.inputs["slides"]
            if "identity" in slide
            for copy in (False, True)  # only tiling finds out which
        }
    return used


def remove(file: StudyFile, paths: list[str]) -> None:
    """Remove folders that `unused` found; only those can be removed."""
    home = build_graph(file).home
    allowed = {path for path, _ in unused(file)}
    with lease(home):
        for path in paths:
            if path not in allowed:
                raise RequestError(f"{path}: the study uses this folder; it stays")
            home.remove(path)
            parent = path.rpartition("/")[0]
            if path.startswith("cells/") and not home.names(parent):  # it was the last of its repeats
                home.remove(parent)


def _below(folder: Storage, depth: int) -> list[Storage]:
    if depth == 0:
        return [folder]
    return [
        s
        for name in folder.names()
        if name != "current" and folder.fs.get_file_info(folder.path(name)).type == pafs.FileType.Directory
        for s in _below(folder.at(name), depth - 1)
    ]


def _bytes(folder: Storage) -> int:
    infos = folder.fs.get_file_info(pafs.FileSelector(folder.root, recursive=True))
    return sum(info.size or 0 for info in infos)
