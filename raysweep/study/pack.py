"""What a study is made of, as a folder that can be sent to a cluster."""

import hashlib
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raysweep.addresses import at_home, is_address
from raysweep.errors import RequestError
from raysweep.secrets import has_secret, secret_line
from raysweep.slides.table.listing import list_rows
from raysweep.storage import shipped
from raysweep.study.load import StudyFile
from raysweep.study.model import Study

_BESIDE = ("datasets", "search_spaces")  # folders of cards and spaces beside a study
_SENT = (".yaml", ".yml", ".csv", ".tsv", ".pickle", ".pkl")  # what of them is sent
_FILES = ("path", "mask", "annotations", "coords")  # columns of a slide table that name files
_ROWS = 1000  # of a slide table whose files are looked for: on a shared file system each look takes its time
_MOST_MB = 100  # Ray takes no more with a job
_YAML = (".yaml", ".yml")
_SEEN = "which everybody sees who sees the job; leave it out, and give the nodes the right to use the bucket"
_NOT_SENT = "are not sent; put it where all nodes see it, and give its whole path or its address"


@dataclass(frozen=True)
class Package:
    """What a job runs, and a hash of that and of all that is sent with it."""

    command: str
    digest: str


def pack_study(file: StudyFile, ref: str, overrides: Sequence[str], folder: Path) -> Package:
    """Copy what a study is made of into a folder, as it stands below its own.

    That is the study's file, those that it extends, its slide tables and the cards and search spaces beside them; of a
    study that ships nothing, since every node has it. Raises RequestError for a storage that goes with the job, for
    what stands elsewhere, for slides and weights, which are not sent, for passwords, and for more than Ray takes with a
    job.
    """
    if not is_address(file.study.storage) and not Path(file.study.storage).is_absolute():
        raise RequestError(
            f"storage {file.study.storage}: a job has a folder of its own, which goes when it ends; name a bucket, or "
            "the path of a folder that all nodes share, as storage=s3://BUCKET/runs"
        )
    _check_no_secret(file, overrides)
    home = file.folder
    if home != shipped("studies"):
        ref = Path(file.files[0]).name
        _check_reached(file.study, home)
        _copy(_needed(file), home, folder)
    command = shlex.join(["raysweep", "run", ref, *overrides])
    digest = hashlib.blake2b(command.encode(), digest_size=16)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(b"\0" + path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return Package(command, digest.hexdigest())


def _needed(file: StudyFile) -> list[Path]:
    """The study's own files and tables, and the cards, spaces and their tables that it may look up beside them."""
    home, study = file.folder, file.study
    found = [path for path in file.files if path.parent != shipped("studies")]
    found += [home / spec.slides for spec in study.patches.values() if _is_table(spec.slides)]
    entries = [entry if isinstance(entry, dict) else {"card": entry} for entry in study.tasks]
    cards = {name for e in entries for name in (e.get("card"), *(e.get("test_sets") or ())) if isinstance(name, str)}
    protocols = {name for kind in ("classification", "segmentation") for name in study.transfer.protocols_for(kind)}
    text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in found if path.suffix in _YAML)
    for folder in file.folders:
        if folder == shipped("studies"):
            continue
        beside = [path for path in sorted(folder.glob("*")) if path.suffix.lower() in _SENT and path.is_file()]
        own = [p for p in beside if p.stem in cards or re.split(r"[_-]", p.stem)[0] in protocols]
        text += "".join(path.read_text(encoding="utf-8", errors="replace") for path in own if path.suffix in _YAML)
        found += own
        found += [path for path in beside if path.suffix not in _YAML and path.name in text]  # splits of those cards
        found += [path for room in _BESIDE for path in sorted((folder / room).rglob("*"))
                  if path.suffix.lower() in _SENT]  # fmt: skip
    return list(dict.fromkeys(found))


def _copy(paths: Sequence[Path], home: Path, folder: Path) -> None:
    inside: dict[Path, Path] = {}
    for path in paths:
        named = Path(os.path.normpath(path))  # a link inside is sent under its own name
        if not (named.is_relative_to(home) and path.resolve().is_relative_to(home.resolve())):
            raise RequestError(f"{path}: stands outside the study's folder {home}, which alone is sent; put it there")
        if path.is_file():
            inside[named] = named.relative_to(home)
    megabytes = sum(path.stat().st_size for path in inside) / 1e6
    if megabytes > _MOST_MB:
        raise RequestError(f"{home}: {megabytes:.0f} MB of tables and cards, and a job takes {_MOST_MB}; put the slide "
                           "table into the bucket, as slides: s3://BUCKET/slides.csv")  # fmt: skip
    for path, below in inside.items():
        data = path.read_bytes()
        line = secret_line(data.decode(errors="replace"))
        if line:
            raise RequestError(f"{path}: line {line}: holds a password or a key, {_SEEN}")
        (folder / below).parent.mkdir(parents=True, exist_ok=True)
        (folder / below).write_bytes(data)


def _check_reached(study: Study, home: Path) -> None:
    """Slides, coordinates and weights are not sent: all nodes must see them where they are."""
    for name, spec in study.patches.items():
        keys = {"root": spec.root, "coords": spec.coords}
        if _is_table(spec.slides):
            if not (home / spec.slides).is_file():
                raise RequestError(f"patches.{name}.slides: {home / spec.slides}: no such file")
        elif spec.root is None:
            keys["slides"] = spec.slides
        for key, value in keys.items():
            if value is not None and _stays(value):
                raise RequestError(f"patches.{name}.{key}: {value} stands on this machine, and slides {_NOT_SENT}")
        if _is_table(spec.slides) and spec.root is None:
            where, root, rows = list_rows(spec, home)
            for row in rows[:_ROWS]:
                for column in _FILES:
                    cell = row.get(column)
                    if cell and _stays(cell) and (Path(root) / cell).exists():
                        raise RequestError(
                            f"{where}, line {row['#']}: {column} {cell} stands on this machine, and slides {_NOT_SENT}"
                        )
    for name, checkpoint in study.checkpoints.items():
        sources = checkpoint.patches or []
        for key, value in [("init", checkpoint.init), *(("patches", s) for s in ([sources] if isinstance(sources, str)
                                                                               else sources))]:  # fmt: skip
            here = home / at_home(value)
            if not is_address(value) and _stays(value) and (here.is_file() or ("/" in value and here.exists())):
                raise RequestError(f"checkpoints.{name}.{key}: {value} stands on this machine, and weights and patches "
                                   f"{_NOT_SENT}")  # fmt: skip


def _check_no_secret(file: StudyFile, overrides: Sequence[str]) -> None:
    """A job's command and files can be read in the dashboard, and its metadata too."""
    study = file.study
    given = [("storage", study.storage), *((item.partition("=")[0], item.partition("=")[2]) for item in overrides)]
    for key, value in given:
        if has_secret(value):
            raise RequestError(f"{key}: the address holds a password, {_SEEN}")


def _is_table(slides: str) -> bool:
    return _stays(slides) and slides.lower().endswith((".csv", ".tsv"))


def _stays(path: str) -> bool:
    """Whether it starts from the study's folder here."""
    return not is_address(path) and not at_home(path).is_absolute()
