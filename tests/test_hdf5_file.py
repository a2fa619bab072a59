"""HDF5 files that name other files, or claim what they do not hold."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from raysweep.errors import WorkError
from raysweep.hdf5_file import check_size, find_dataset


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_bytes(b"hush" * 4)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.arange(4, dtype=np.uint8)
    layout = h5py.VirtualLayout((4,), np.uint8)
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "x", (4,))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["deep/x"] = np.arange(4, dtype=np.uint8)
        file["soft"] = h5py.SoftLink("/deep/x")
        file["round"] = h5py.SoftLink("/round")
        file.create_dataset("raw", (16,), np.uint8, external=[(str(tmp_path / "secret.txt"), 0, 16)])
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
        file["folder"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
        file["behind"] = h5py.SoftLink("/link")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("huge", (10**6, 10**6), np.uint8, chunks=(1000, 1000))
        file.create_dataset("lump", (10**5, 10**5), np.uint8, chunks=(40_000, 40_000))
    return tmp_path / "a.h5"


def test_what_is_in_the_file_is_found(path: Path) -> None:
    with h5py.File(path) as file:
        for name in ("deep/x", "/deep/x", "soft"):
            found = find_dataset(file, name)
            assert found is not None
            assert found[:].tolist() == [0, 1, 2, 3]
        assert find_dataset(file, "deep") is None
        assert find_dataset(file, "deep/x/y") is None
        assert find_dataset(file, "none") is None


@pytest.mark.parametrize("name", ["raw", "link", "folder/x", "behind", "virtual", "round"])
def test_other_files_are_not_read(path: Path, name: str) -> None:
    with h5py.File(path) as file, pytest.raises(WorkError, match="another file"):
        find_dataset(file, name)


def test_a_claim_is_looked_at_before_it_is_believed(path: Path) -> None:
    assert path.stat().st_size < 10**5
    with h5py.File(path) as file:
        found = find_dataset(file, "huge")
        assert found is not None
        with pytest.raises(WorkError, match=r"^huge claims 931 GiB, more than 1$"):
            check_size(found, 2**30)
        with pytest.raises(WorkError, match="lump is stored in pieces of more than 1 GiB"):
            find_dataset(file, "lump")
