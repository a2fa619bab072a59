"""Tile slides without a study."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from raysweep.errors import RequestError
from raysweep.lease import lease
from raysweep.local_path import local_path
from raysweep.patches.outcomes import read_outcomes
from raysweep.progress import Progress
from raysweep.slides.identity import Identities
from raysweep.slides.inputs import patch_set_inputs
from raysweep.slides.outcomes import NoPatchSet
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.columns import check_wants
from raysweep.slides.table.entries import check_slides, read_slides
from raysweep.slides.table.series import one_per_series
from raysweep.storage import Artefact, Storage
from raysweep.study.cluster import check_nodes, cluster
from raysweep.study.load import KEEP, explain, override
from raysweep.study.patch_sets import to_tile

_OVERRIDE = re.compile(r"[A-Za-z_]\w*(\.[^/=]+)*=")
_SEED = 0
_SOURCES = "arguments"  # as `slides` in the manifest; slides.parquet names each
_COLUMNS = ("slide", "status", "reason", "mpp", "n_patches", "dropped")


def tile_slides(
    arguments: Sequence[str],
    *,
    um: float | None,
    px: int | None,
    out: str | Path | None,
    workers: int | None,
    progress: Progress,
) -> tuple[list[str], list[list[str]], bool]:
    """Make a patch set `out/<fp8>` from slide files, folders, globs or slide tables.

    The other `arguments` are keys of a patch set, such as `tissue=all` or `labels.source=mask`. `um` and `px` are the
    edge of a patch in the specimen and in pixels. Returns a header and a row per slide, and whether some slides failed;
    there is no patch set when none of them is done. Raises RequestError for sources that name no slide, for wrong keys
    and for what is missing.
    """
    for argument in arguments:
        shown = argument.encode(errors="backslashreplace").decode()
        if shown != argument:  # Ray notes the command line
            raise RequestError(f"tile: {shown} is not UTF-8; name its folder, or a glob in quotes")
    overrides = [argument for argument in arguments if _OVERRIDE.match(argument) and not os.path.exists(argument)]
    sources = [argument for argument in arguments if argument not in overrides]
    keys = _keys(overrides, {"um": um, "px": px})
    if not sources or out is None or "px" not in keys or not {"um", "mpp"} & set(keys):
        raise RequestError("tile: slides need --um, --px and --out, such as *.svs --um 200 --px 512 --out patches")
    try:
        spec = PatchSetSpec.model_validate({**keys, "slides": _SOURCES})
    except ValidationError as error:
        raise RequestError(explain(error, PatchSetSpec)) from error
    if spec.exclude:
        raise RequestError("exclude: tasks are those of a study, and here is none; leave exclude out, or write a study")
    if spec.max_failed is not None:
        raise RequestError("max_failed: stops a study; here every slide that can be tiled is, so leave it out")
    of = [spec.model_copy(update={"slides": source}) for source in sources]
    slides = one_per_series([s for one in of for s in read_slides(one, Path.cwd())])
    slides.sort(key=lambda slide: slide.name)
    check_slides(slides, spec, "slides")
    check_wants(spec, slides)
    home = Storage.open(local_path(out, "--out") if isinstance(out, Path) else out)
    home.check_writable()
    identities = Identities(home)
    artefact = Artefact(home, patch_set_inputs(spec, slides, _SEED, identities))
    if to_tile(artefact, spec.export):
        from raysweep.slides.tile import tile

        with lease(home), cluster(progress, cpus=workers), suppress(NoPatchSet):
            identities.save()
            check_nodes(home, [s.path for s in slides])
            tile(spec, slides, artefact, home.at("spool"), seed=_SEED, workers=workers, progress=progress)
            home.write_bytes(f"{artefact.fingerprint[:8]}\n".encode(), "current")
    found = read_outcomes(artefact.folder)
    rows = [[_shown(getattr(slide, column)) for column in _COLUMNS] for slide in found]
    return list(_COLUMNS), rows, any(slide.status == "failed" for slide in found)


def _keys(overrides: Sequence[str], options: Mapping[str, float | None]) -> dict[str, Any]:
    """The keys of a patch set that overrides and the command's options give."""
    config = OmegaConf.create({}, flags=KEEP)
    for item in overrides:
        try:
            override(config, item)
        except OmegaConfBaseException as error:
            raise RequestError(f"{item}: {' '.join(str(error).split())[:200]}") from error
    keys = OmegaConf.to_container(config)
    assert isinstance(keys, dict)
    if "slides" in keys:
        raise RequestError("slides: here they are arguments of their own, without slides=")
    for key, value in options.items():
        if value is not None and key in keys:
            raise RequestError(f"{key}: is given twice, as --{key} and as {key}=; keep one")
    return {**{str(key): value for key, value in keys.items()}, **{k: v for k, v in options.items() if v is not None}}


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
