"""What a study is made of, as a folder that can be sent to a cluster."""

import hashlib
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raysweep.addresses import at_home, is_address
from raysweep.errors import RequestError
from raysweep.secrets import has_secret
from raysweep.storage import shipped
from raysweep.study.load import StudyFile

_BESIDE = ("datasets", "search_spaces")  # folders of cards and spaces beside a study
_SENT = (".yaml", ".yml", ".csv", ".tsv", ".pickle", ".pkl")  # what of them is sent
_MOST_MB = 100  # Ray takes no more with a job


@dataclass(frozen=True)
class Package:
    """What a job runs, and a hash of that and of all that is sent with it."""

    command: str
    digest: str


def pack_study(file: StudyFile, ref: str, overrides: Sequence[str], folder: Path) -> Package:
    """Copy what a study is made of into a folder, as it stands below its own.

    That is the study's file, those that it extends, its slide tables and the cards and search spaces beside it; of a
    study that ships nothing, since every node has it. Raises RequestError for what stands elsewhere, for weights,
    which are not sent, for passwords, and for more than Ray takes with a job.
    """
    _check_no_secret(file, overrides)
    home = file.folder
    if home != shipped("studies"):
        ref = Path(file.files[0]).name
        _copy(file, home, folder)
    command = shlex.join(["raysweep", "run", ref, *overrides])
    digest = hashlib.blake2b(command.encode(), digest_size=16)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(b"\0" + path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return Package(command, digest.hexdigest())


def _copy(file: StudyFile, home: Path, folder: Path) -> None:
    named = [home / spec.slides for spec in file.study.patches.values() if _is_table(spec.slides)]
    named += [path for path in file.files if path.parent != shipped("studies")]
    beside = [path for room in _BESIDE for path in sorted((home / room).rglob("*")) if path.suffix.lower() in _SENT]
    for path in (*named, *beside):
        inside = Path(path.resolve().as_posix()).relative_to(home.resolve()) if _below(path, home) else None
        if inside is None:
            raise RequestError(f"{path}: stands outside the study's folder {home}, which alone is sent; put it there")
        if path.is_file():
            (folder / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / inside)
    for name, spec in file.study.checkpoints.items():
        init = at_home(spec.init)
        if not init.is_absolute() and (home / init).is_file():
            raise RequestError(
                f"checkpoints.{name}.init: {spec.init} stands on this machine, and weights are not sent; put the file "
                "where all nodes see it, and give its whole path"
            )
    megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    if megabytes > _MOST_MB:
        raise RequestError(f"{home}: {megabytes:.0f} MB of tables and cards, and a job takes {_MOST_MB}; put the slide "
                           "table into the bucket, as slides: s3://BUCKET/slides.csv")  # fmt: skip


def _check_no_secret(file: StudyFile, overrides: Sequence[str]) -> None:
    """A job's command and files can be read in the dashboard, and its metadata too."""
    study = file.study
    given = [("storage", study.storage), *((item.partition("=")[0], item.partition("=")[2]) for item in overrides)]
    given += [(f"patches.{name}.slides", spec.slides) for name, spec in study.patches.items()]
    for key, value in given:
        if has_secret(value):
            raise RequestError(
                f"{key}: the address holds a password, which everybody sees who sees the job; leave it out, and give "
                "the nodes the right to use the bucket"
            )


def _is_table(slides: str) -> bool:
    return not is_address(slides) and not Path(slides).is_absolute() and slides.lower().endswith((".csv", ".tsv"))


def _below(path: Path, home: Path) -> bool:
    return path.resolve().is_relative_to(home.resolve())
