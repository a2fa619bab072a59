"""DICOM files that are nothing but beginnings."""

import pytest

from raysweep.slides.dicom import series_files

from .dicoms import dicom, element, write_dicom


def _sequences(depth: int) -> bytes:
    return b"".join(element(8, 0x1115, "SQ", b"", undefined=True) for _ in range(depth))


@pytest.mark.parametrize("more", [_sequences(3000), element(0x20, 0xD, "UI", b"") * 4000, b"\xff" * 60_000])
def test_a_file_that_only_nests_has_no_series(tmp_path, more):
    path = write_dicom(tmp_path / "1.dcm", None)
    head = dicom(None)
    path.write_bytes(head[: head.index(b"CS") - 4] + more)
    assert [info.base_name for info in series_files(str(path))] == ["1.dcm"]
