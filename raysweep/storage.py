"""Folders on any filesystem, written so that a kill at any moment leaves either the old file or the new one."""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from raysweep.addresses import in_utf8, is_address, locate
from raysweep.checked_file import CheckedFile, read_whole
from raysweep.commit import commit
from raysweep.errors import RequestError, StorageError, WorkError
from raysweep.json_file import mapping, parse_json
from raysweep.retry import patiently
from raysweep.secrets import redacted
from raysweep.versions import versions

MANIFEST = "manifest.json"
UNFINISHED = ".tmp-"  # begins the names of files that are being written
_MIB = 2**20
_T = TypeVar("_T")


@dataclass(frozen=True)
class Storage:
    """One folder of a pyarrow filesystem. Cheap to make, safe to pickle, the same on disk and on object storage.

    Its methods outlast a minute without the storage. They raise StorageError, an OSError, for what cannot be done, and
    FileNotFoundError for a file that is not there.
    """

    fs: pafs.FileSystem
    root: str

    @classmethod
    def open(cls, uri: str | Path) -> "Storage":
        """The folder at a path or a pyarrow filesystem URI (`s3://`, `gs://`, `file://`); it need not exist.

        Raises RequestError when the address cannot be understood.
        """
        fs, root = locate(uri)
        return cls(fs, in_utf8(root))

    @property
    def is_local(self) -> bool:
        return isinstance(self.fs, pafs.LocalFileSystem)

    def at(self, *parts: str) -> "Storage":
        """A folder below this one."""
        return Storage(self.fs, self.path(*parts))

    def path(self, *parts: str) -> str:
        """The filesystem's own name of something below this folder. Raises WorkError for what is not below it: names
        come from files of a bucket, too."""
        for part in parts:
            if ".." in part and ".." in part.split("/"):
                raise WorkError(f"{self.root}: {part} is not below it; whoever names that has no business there")
        return "/".join([self.root, *parts])

    def patiently(self, call: Callable[[], _T], path: str, doing: str = "read") -> _T:
        """What `call` returns, which does something with a file here; as often as errors may be gone soon."""
        try:
            return patiently(call, f"{self.fs.type_name}:{path.strip('/').partition('/')[0]}")
        except StorageError:
            raise
        except OSError as error:
            if doing != "written" and isinstance(error, FileNotFoundError):
                raise
            raise StorageError(error.errno, f"{path}: cannot be {doing} ({_plainly(error)})") from error

    def exists(self, *parts: str) -> bool:
        return self._info(*parts).type != pafs.FileType.NotFound

    def _info(self, *parts: str) -> pafs.FileInfo:
        path = self.path(*parts)
        return self.patiently(lambda: self.fs.get_file_info(path), path)

    def names(self, *parts: str) -> list[str]:
        """Sorted names of the files and folders directly in a folder; none when it does not exist."""
        infos = self.infos(*parts)
        return sorted(info.base_name for info in infos if not info.base_name.startswith(UNFINISHED))

    def infos(self, *parts: str, recursive: bool = False) -> list[pafs.FileInfo]:
        """What is in a folder, or anywhere below it; nothing when it does not exist."""
        path = self.path(*parts)
        selector = pafs.FileSelector(path, allow_not_found=True, recursive=recursive)
        return self.patiently(lambda: self.fs.get_file_info(selector), path, "listed")

    def size(self, *parts: str) -> int:
        """Bytes of a file."""
        return int(self._info(*parts).size or 0)

    def read_bytes(self, *parts: str) -> bytes:
        path = self.path(*parts)

        def read() -> bytes:
            with self.fs.open_input_file(path) as file:
                return file.read() if self.is_local else read_whole(file, file.size())

        return self.patiently(read, path)

    def read_json(self, *parts: str) -> Any:
        """Raises DamagedFileError, a ValueError, for what is no JSON."""
        for _ in range(0 if self.is_local else 2):
            with suppress(ValueError):  # an object that was written anew in between: as long as the old one
                return json.loads(self.read_bytes(*parts))
        return parse_json(self.read_bytes(*parts), self.path(*parts))

    def open_mapped(self, *parts: str) -> pa.NativeFile:
        """A file to be read at places; one on disk is mapped, so what is read of it is not copied."""
        return pa.memory_map(self.path(*parts)) if self.is_local else self.open_file(*parts)

    def open_file(self, *parts: str) -> pa.NativeFile:
        """A file to be read at places."""
        path = self.path(*parts)
        if self.is_local:
            return self.patiently(lambda: self.fs.open_input_file(path), path)
        return pa.PythonFile(CheckedFile(self.fs, path, lambda call: self.patiently(call, path)), mode="r")

    def read_table(self, *parts: str, columns: list[str] | None = None) -> pa.Table:
        with self.open_file(*parts) as file:
            return pq.read_table(file, columns=columns)

    def write_bytes(self, data: bytes | memoryview, *parts: str, durable: bool = True) -> None:
        """Write a whole file; readers see the old content or all of the new.

        Not `durable`: a power cut may leave a part of it, until `make_durable` is called.
        """
        target = self.path(*parts)
        folder, name = target.rsplit("/", 1)

        def write() -> None:
            if self.is_local:
                self._write_local(data, Path(folder), name, durable)
            else:
                self._upload(data, target)

        self.patiently(write, target, "written")

    @staticmethod
    def _write_local(data: bytes | memoryview, folder: Path, name: str, durable: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{UNFINISHED}{uuid.uuid4().hex}"
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.replace(temporary, folder / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _upload(self, data: bytes | memoryview, target: str) -> None:
        """Write an object, which appears when its stream is closed."""
        stream = self.fs.open_output_stream(target)
        try:
            stream.write(data)
        except BaseException:
            with suppress(Exception):  # a store that cannot close it keeps the old object
                stream.close()
                self.fs.delete_file(target)  # a stream cannot be given up: what had arrived is an object now
            raise
        stream.close()

    def make_durable(self, *parts: str) -> None:
        """Wait until a file is safe from a power cut; on object storage it is already."""
        if self.is_local:
            path = self.path(*parts)

            def sync() -> None:
                with open(path, "rb") as file:
                    os.fsync(file.fileno())

            self.patiently(sync, path, "written")

    def write_json(self, value: Any, *parts: str) -> None:
        text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain)
        self.write_bytes((text + "\n").encode(), *parts)

    def write_table(self, table: pa.Table, *parts: str, **options: Any) -> None:
        """Write a Parquet file; `options` go to `pyarrow.parquet.write_table`."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, **options)
        self.write_bytes(memoryview(sink.getvalue()), *parts)

    def remove(self, *parts: str) -> None:
        """Remove a file, or a folder with all it holds; nothing happens when it is not there."""
        path = self.path(*parts)

        def remove() -> None:
            kind = self.fs.get_file_info(path).type  # again in a second try: the first may have done it
            if kind == pafs.FileType.Directory:
                self.fs.delete_dir(path)
            elif kind != pafs.FileType.NotFound:
                self.fs.delete_file(path)

        self.patiently(remove, path, "removed")

    def check_writable(self) -> None:
        """Raise RequestError unless files can be written and removed here."""
        name = f"writable-{uuid.uuid4().hex}"
        try:
            self.write_bytes(b"", name)
            self.remove(name)
        except (WorkError, OSError) as error:
            raise RequestError(
                f"storage {self.root}: cannot be written; name another folder as storage=PATH"
            ) from error


def _plainly(error: OSError) -> str:
    """Of the words of an object storage, those that say what is wrong."""
    text = error.strerror or str(error)
    found = re.search(r"AWS Error (\S+)(?: \((HTTP status \d+)\))? during|Detail: \[errno \d+\] (.+)$", text)
    return (found[2] or found[3] or found[1]) if found else text


@dataclass(frozen=True)
class Artefact:
    """A directory `<home>/<fp8>/` made by one stage; complete when its manifest is there.

    `inputs` is everything the fingerprint covers: the stage's resolved keys, the fingerprints of what it reads
    and a format version. Package versions, timings, worker counts and absolute paths stay out of it. With `part`,
    one of several that have these inputs in common: `<home>/<fp8>/<part>/`.
    """

    home: Storage
    inputs: Mapping[str, Any] = field(hash=False)
    part: str = ""

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.inputs)

    @property
    def folder(self) -> Storage:
        return self.home.at(*filter(None, (self.fingerprint[:8], self.part)))

    def done(self) -> bool:
        return self.folder.exists(MANIFEST) and self.manifest().get("fingerprint") == self.fingerprint

    def manifest(self) -> dict[str, Any]:
        return mapping(self.folder.read_json(MANIFEST), self.folder.path(MANIFEST))

    def commit(self, *, config: Any, counts: Mapping[str, Any], timings: Mapping[str, float]) -> None:
        """Write the manifest, which makes the directory complete. Last act of a stage."""
        self.folder.write_json(
            {"fingerprint": self.fingerprint, "inputs": _public(self.inputs), "config": _public(config),
             "counts": dict(counts), "timings": dict(timings), "versions": {**versions(), **commit()},
             "created": datetime.now(UTC).isoformat(timespec="seconds")},
            MANIFEST,
        )  # fmt: skip


def fingerprint(value: Any) -> str:
    """128 bits (32 hex digits) of blake2b over canonical JSON: key order and spacing do not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def file_identity(path: str | Path | tuple[pafs.FileSystem, str]) -> dict[str, Any]:
    """What makes a large file itself: its name, size in bytes and a hash of its first and last MiB.

    `path` may be an address, or a filesystem with its own name of the file; how the file is reached is no part of its
    identity. Raises OSError when it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    if not isinstance(path, tuple) and not is_address(path):  # the same in half the time: labelled sets have many files
        with open(os.path.expanduser(path), "rb") as plain:
            size = os.fstat(plain.fileno()).st_size
            digest.update(plain.read(_MIB))
            if size > _MIB:
                plain.seek(max(_MIB, size - _MIB))
                digest.update(plain.read(_MIB))
        return {"name": os.path.basename(path), "size": size, "hash": digest.hexdigest()}
    fs, inside = path if isinstance(path, tuple) else locate(path)
    with fs.open_input_file(inside) as file:
        size = file.size()
        digest.update(file.read_at(min(size, _MIB), 0))
        if size > _MIB:
            start = max(_MIB, size - _MIB)
            digest.update(file.read_at(size - start, start))
    return {"name": inside.rpartition("/")[2], "size": size, "hash": digest.hexdigest()}


def shipped(folder: str) -> Path:
    """A folder of YAML files that ships with raysweep: `datasets`, `search_spaces` or `studies`."""
    package = Path(__file__).parent
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder


def _public(value: Any) -> Any:
    """What may be written down of a configuration: its addresses without passwords."""
    return redacted(json.loads(json.dumps(value, default=_plain)))


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
