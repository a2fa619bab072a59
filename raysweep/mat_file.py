"""Arrays of numbers from MATLAB files of strangers: nothing else is read, and none grows beyond its bound."""

import math
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from scipy.io.matlab import matfile_version

from raysweep.errors import WorkError
from raysweep.hdf5_file import check_size, find_dataset

_MOST_BYTES = 2**30  # of all that a file holds, unpacked: a map of 8192 x 8192 numbers is half of that
_NUMBERS = frozenset({"double", "single", "logical", *(f"{s}int{n}" for s in ("", "u") for n in (8, 16, 32, 64))})
_HEAD, _TAG, _COMPRESSED = 128, 8, 15  # bytes of a level 5 file's head and of an element's tag; type of the element
_PIECE = 2**20


def mat_names(path: Path) -> list[str]:
    """Names of a file's variables. Raises OSError, or anything that scipy does for what is no MATLAB file."""
    if not _is_hdf5(path):
        return [name for name, *_ in scipy.io.whosmat(path)]
    with h5py.File(path, "r") as file:
        return [key for key in file if not key.startswith("#")]


def mat_arrays(path: Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The variables of these names, of all without any, as arrays of numbers; what is none is an array of `object`.

    Cells, structs, objects and texts are never read. Raises as `mat_names`, and WorkError for a file that holds more
    than 1 GiB of numbers, however small it is.
    """
    if _is_hdf5(path):
        return _of_hdf5(path, mat_names(path) if names is None else names)
    found = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
    wanted = {name: found[name] for name in (found if names is None else names) if name in found}
    numbers = [name for name, (_, kind) in wanted.items() if kind in _NUMBERS]
    for name in numbers:
        _check(path, 8 * math.prod(wanted[name][0]))
    _check_unpacked(path)
    arrays = {name: np.zeros(0 if 0 in shape else 1, dtype=object) for name, (shape, _) in wanted.items()}
    if numbers:
        held = scipy.io.loadmat(path, variable_names=numbers)
        arrays |= {name: np.asarray(held[name]) for name in numbers}
    return arrays


def _is_hdf5(path: Path) -> bool:
    """Files of version 7.3 are HDF5."""
    return bool(matfile_version(path)[0] == 2)


def _of_hdf5(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        for name in names:
            values = find_dataset(file, name)
            if values is not None and values.dtype.kind in "biuf":
                check_size(values, _MOST_BYTES)
                arrays[name] = np.asarray(values).T  # MATLAB stores columns first
            elif values is not None or name in file:
                arrays[name] = np.zeros(1, dtype=object)
    return arrays


def _check_unpacked(path: Path) -> None:
    """Raise WorkError where compressed elements hold more than they may; their own tags can say anything."""
    if matfile_version(path)[0] == 0:  # version 4 compresses nothing
        return
    unpacked = 0
    with open(path, "rb") as file:
        order = "<" if file.read(_HEAD)[126:128] == b"IM" else ">"
        while len(tag := file.read(_TAG)) == _TAG:
            kind, size = struct.unpack(f"{order}II", tag)
            if kind != _COMPRESSED:
                file.seek(size, 1)
                continue
            unpacker, left = zlib.decompressobj(), size
            while left and (piece := file.read(min(_PIECE, left))):
                left -= len(piece)
                while piece:
                    unpacked += len(unpacker.decompress(piece, _PIECE))
                    _check(path, unpacked)
                    piece = unpacker.unconsumed_tail


def _check(path: Path, size: int) -> None:
    if size > _MOST_BYTES:
        raise WorkError(f"{path.name} holds more than {_MOST_BYTES / 2**30:g} GiB of numbers, and is not read")
