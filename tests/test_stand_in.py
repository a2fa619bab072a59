"""What stands in the place of a file."""

import re

import pytest

from raysweep.stand_in import stand_in


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty; get it anew"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "a pointer of Git LFS .*git lfs"),
        (b"\xef\xbb\xbf\n <!DOCTYPE HTML><html>", "a web page and not the file itself"),
        (b"<html><head><title>Virus scan warning</title>", "a web page and not the file itself"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a server's message of an error"),
    ],
)  # fmt: skip
def test_what_is_not_the_file(data, said, tmp_path):
    (tmp_path / "x.pth").write_bytes(data)
    found = stand_in(tmp_path / "x.pth")
    assert found is not None
    assert re.match(said, found)


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"name,label\n", b"<?xml version='1'?><Annotations/>"]
)
def test_what_may_be_the_file(data, tmp_path):
    (tmp_path / "x").write_bytes(data)
    assert stand_in(tmp_path / "x") is None
