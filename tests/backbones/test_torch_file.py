"""Files of torch's that are not what they seem."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from raysweep.backbones.torch_file import load_tensors
from raysweep.backbones.weight_file import read_content
from raysweep.errors import RequestError


class _Runs:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


def _packed(path: Path, value: object) -> Path:
    """As torch writes it, but compressed."""
    plain = io.BytesIO()
    torch.save(value, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    return path


def test_tensors_come_from_a_file_and_from_memory(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3)}, tmp_path / "a.pth")
    for source in (tmp_path / "a.pth", io.BytesIO((tmp_path / "a.pth").read_bytes())):
        assert load_tensors(source)["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_is_run(tmp_path: Path, zipped: bool) -> None:
    torch.save({"a": _Runs(tmp_path / "made")}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(pickle.UnpicklingError):
        load_tensors(tmp_path / "a.pth")
    with pytest.raises(RequestError, match="holds Python objects besides tensors, which could run code"):
        read_content(tmp_path / "a.pth")
    assert not (tmp_path / "made").exists()


def test_a_small_file_is_not_unpacked_into_a_large_one(tmp_path: Path) -> None:
    path = _packed(tmp_path / "a.pth", {"a": torch.zeros(10**6)})
    assert path.stat().st_size < 10**5
    with pytest.raises(RequestError, match=r"it claims 4,\d{3},\d{3} bytes and has [\d,]+; torch compresses nothing"):
        read_content(path)


def test_what_is_no_zip_though_it_begins_like_one(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(30)}, tmp_path / "a.pth")
    data = (tmp_path / "a.pth").read_bytes()
    for part in (data[:-30], data[: len(data) // 2], b"PK\x03\x04"):
        (tmp_path / "b.pth").write_bytes(part)
        with pytest.raises(RequestError, match=r"cannot be read as a file of weights|cut short or is damaged"):
            read_content(tmp_path / "b.pth")
