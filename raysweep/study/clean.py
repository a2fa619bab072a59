"""Find and remove artefacts that a study, as it stands, does not use."""

import time

import pyarrow.fs as pafs

from raysweep.errors import RequestError
from raysweep.lease import lease
from raysweep.storage import UNFINISHED, Storage
from raysweep.study.graph import Graph, build_graph
from raysweep.study.load import StudyFile
from raysweep.study.patch_sets import spools, to_tile

_DEPTHS = {
    "patches": 2,
    "checkpoints": 2,
    "tasks": 2,
    "features": 3,
    "cells": 6,
    "choices": 5,
}  # room -> levels to an artefact
_WRITTEN_SECONDS = 3600.0  # a file that was begun so long ago is not being written


def unused(file: StudyFile, *, spool: bool = False) -> list[tuple[str, int]]:
    """Folders and files below the study's that its current configuration does not use, each with its size in bytes.

    spool: also the tiling results of single slides of patch sets that are complete: another patch set of the same
    slides reads them again.
    """
    graph = build_graph(file)
    used = {a.folder.root for a in graph.artefacts()} | _spools(graph, complete=not spool)
    found = [s for room, depth in _DEPTHS.items() for s in _below(graph.home.at(room), depth) if s.root not in used]
    found += [s for s in _below(graph.home.at("spool"), 1) if s.root not in used]
    sizes = [(s.root, _bytes(s)) for s in found] + _left_over(graph.home)
    return [(path.removeprefix(graph.home.root + "/"), size) for path, size in sizes]


def _spools(graph: Graph, *, complete: bool) -> set[str]:
    """Tiling results that the study's slides would take from the spool, with or without those of complete sets."""
    spool, plans = graph.home.at("spool"), graph.patch_sets.values()
    used = {spool.path("kin")}
    used |= {spool.path("native")} if any(plan.spec.mpp == "native" for plan in plans) else set()
    for plan in plans:
        if complete or to_tile(plan.artefact, plan.spec.export):
            used |= {of_slide.folder.root for of_slide in spools(plan, graph.home, graph.study.seed)}
    return used


def _left_over(home: Storage) -> list[tuple[str, int]]:
    """Files that a killed program was writing."""
    before = time.time() - _WRITTEN_SECONDS
    return [
        (info.path, info.size or 0)
        for info in home.infos(recursive=True)
        if info.base_name.startswith(UNFINISHED) and info.mtime.timestamp() < before
    ]


def remove(file: StudyFile, paths: list[str]) -> None:
    """Remove what `unused` found, of the spool or not; only that can be removed."""
    home = build_graph(file).home
    allowed = {path for path, _ in unused(file, spool=True)}
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
    return sum(info.size or 0 for info in folder.infos(recursive=True))
