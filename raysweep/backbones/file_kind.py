"""What kind of file of weights a file is, by what it holds and not by what it is called. Light."""

import json
import zipfile
from pathlib import Path
from typing import Literal

from raysweep.errors import RequestError, WorkError
from raysweep.stand_in import stand_in

Kind = Literal["safetensors", "torch"]

_MOST_HEADER = 100_000_000  # bytes; the bound of safetensors
_ZIP, _PICKLE, _GZIP, _HDF5 = b"PK\x03\x04", b"\x80", b"\x1f\x8b", b"\x89HDF"
_TAR_AT, _TAR = 257, b"ustar"  # POSIX 1003.1, the magic of a header


def file_kind(path: Path) -> Kind:
    """Whether a file is one of safetensors or of `torch.save`; of the weights themselves nothing is read.

    Raises RequestError, which names the file, for anything else and for one that was cut short; WorkError where it
    cannot be read.
    """
    try:
        if instead := stand_in(path):
            raise RequestError(f"init {path}: it is {instead}")
        with open(path, "rb") as file:
            head = file.read(_TAR_AT + len(_TAR))
        size = path.stat().st_size
        if _is_safetensors(head):
            _check_whole(path, size)
            return "safetensors"
        if head.startswith(_ZIP):
            _check_archive(path)
            return "torch"
    except OSError as error:
        raise WorkError(f"init {path}: cannot be read ({error.strerror or error})") from error
    if head.startswith(_PICKLE):
        return "torch"
    packed = "a gzip file" if head.startswith(_GZIP) else "a tar archive" if head[_TAR_AT:] == _TAR else None
    if packed:
        raise RequestError(f"init {path}: it is {packed}; unpack it and name the file of weights in it")
    keras = ", but one of HDF5, as Keras writes them" if head.startswith(_HDF5) else ""
    raise RequestError(f"init {path}: it is no file of weights of torch or safetensors{keras}; name another one")


def _is_safetensors(head: bytes) -> bool:
    """A header's length in 8 bytes, then the header, which is JSON."""
    return len(head) > 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _MOST_HEADER


def _check_whole(path: Path, size: int) -> None:
    """Raise RequestError for a file of safetensors that ends before its weights do."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise RequestError(f"init {path}: its header of safetensors is damaged; get it anew") from error
    whole = 8 + length + max(ends, default=0)
    if size < whole:
        raise RequestError(f"init {path}: it was cut short, {size:,} of {whole:,} bytes are there; get it anew")


def _check_archive(path: Path) -> None:
    """Raise RequestError for a zip archive that `torch.save` did not write, and for one without its end."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError) as error:
        raise RequestError(f"init {path}: it was cut short or is damaged; get it anew") from error
    ends = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in ends:
        raise RequestError(
            f"init {path}: it is a network of TorchScript, code and all; save its weights alone: "
            'torch.save(torch.jit.load("IT").state_dict(), "weights.pth")'
        )
    if "data.pkl" not in ends:
        some = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
        raise RequestError(f"init {path}: it is a zip archive ({some}); unpack it and name the file of weights in it")
