"""MATLAB files: numbers, and what is none."""

import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from raysweep import mat_file
from raysweep.errors import WorkError
from raysweep.mat_file import mat_arrays, mat_names

NUMBERS = np.arange(12.0).reshape(3, 4)


def _write(path: Path, version: str, **values: object) -> Path:
    if version == "7.3":
        with h5py.File(path, "w", userblock_size=512) as file:
            for name, value in values.items():
                file[name] = np.asarray(value).T
        with open(path, "r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    else:
        scipy.io.savemat(path, values, format=version[0], do_compression=version == "5c")
    return path


@pytest.mark.parametrize("version", ["4", "5", "5c", "7.3"])
def test_numbers_of_any_version(tmp_path: Path, version: str) -> None:
    path = _write(tmp_path / "a.mat", version, one=NUMBERS, two=NUMBERS + 1)
    assert mat_names(path) == ["one", "two"]
    assert mat_arrays(path)["two"].tolist() == (NUMBERS + 1).tolist()
    assert list(mat_arrays(path, ["one", "none"])) == ["one"]


def test_what_is_no_numbers_is_not_read(tmp_path: Path) -> None:
    cell = np.empty((1, 2), object)
    cell[0, 0] = cell[0, 1] = NUMBERS
    found = mat_arrays(_write(tmp_path / "a.mat", "5", cell=cell, text="text", struct={"a": NUMBERS}, one=NUMBERS))
    assert found["one"].shape == (3, 4)
    assert {found[name].dtype.kind for name in ("cell", "text", "struct")} == {"O"}


@pytest.mark.parametrize("version", ["5", "5c", "7.3"])
def test_none_grows_beyond_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    path = _write(tmp_path / "a.mat", version, one=np.zeros((1000, 1000)))
    assert mat_arrays(path)["one"].shape == (1000, 1000)
    monkeypatch.setattr(mat_file, "_MOST_BYTES", 2**20)
    with pytest.raises(WorkError, match=r"GiB"):
        mat_arrays(path)


def test_zeros_behind_a_small_number_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its header says one number; what is compressed behind it would be unpacked all the same."""
    path = _write(tmp_path / "a.mat", "5c", one=np.zeros((1, 1)))
    head, rest = path.read_bytes()[:128], path.read_bytes()[128:]
    bomb = zlib.compress(zlib.decompress(rest[8:]) + bytes(4 * 2**20))
    path.write_bytes(head + struct.pack("<II", 15, len(bomb)) + bomb)
    monkeypatch.setattr(mat_file, "_MOST_BYTES", 2**20)
    with pytest.raises(WorkError, match=r"a\.mat holds more than"):
        mat_arrays(path)
