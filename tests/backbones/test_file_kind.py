"""Files of weights that are other than their names, or not whole: told before anything is read."""

import gzip
import io
import tarfile
import zipfile

import pytest
import torch
from safetensors.torch import save

from raysweep.backbones.file_kind import file_kind
from raysweep.backbones.weight_file import read_content
from raysweep.errors import RequestError

WEIGHTS = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}


def saved(**how) -> bytes:
    out = io.BytesIO()
    torch.save(WEIGHTS, out, **how)
    return out.getvalue()


def scripted() -> bytes:
    out = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), out)
    return out.getvalue()


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("resnet18.pth", saved())
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("resnet18.pth")
        archive.addfile(member, io.BytesIO())
    return out.getvalue()


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors", "x.ckpt"])
@pytest.mark.parametrize(
    "data", [saved(), saved(_use_new_zipfile_serialization=False), save(WEIGHTS, {"format": "pt"})]
)
def test_a_file_is_read_by_what_it_holds_whatever_it_is_called(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    content = read_content(tmp_path / name)
    assert {key: value.tolist() for key, value in content.items()} == {"a": [0, 1, 2], "b": [[1, 1], [1, 1]]}
    assert file_kind(tmp_path / name) == ("safetensors" if data == save(WEIGHTS, {"format": "pt"}) else "torch")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "a pointer of Git LFS.*git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "it is a web page"),
        (b'{"error": "Entry not found"}', "it is no file of weights of torch or safetensors; name another"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "one of HDF5, as Keras writes them"),
        (gzip.compress(saved()), "it is a gzip file; unpack it"),
        (tarred(), "it is a tar archive; unpack it"),
        (zipped(), r"it is a zip archive \(resnet18.pth\); unpack it"),
        (scripted(), "a network of TorchScript.*state_dict"),
        (saved()[:-40], "it was cut short or is damaged; get it anew"),
        (saved(_use_new_zipfile_serialization=False)[:-30], "cannot be read as a file of weights|damaged"),
        (save(WEIGHTS)[:-8], r"it was cut short, 1\d\d of 1\d\d bytes are there"),
        (save(WEIGHTS)[:60], "its header of safetensors is damaged"),
        (b"\x80\x04garbage", "is damaged, or no file of `torch.save`"),
    ],
)  # fmt: skip
def test_what_it_is_instead_is_said(data, said, tmp_path):
    (tmp_path / "x.pth").write_bytes(data)
    with pytest.raises(RequestError, match=rf"x\.pth: .*({said})"):
        read_content(tmp_path / "x.pth")
