"""JSON files of ours that somebody else has written into."""

from pathlib import Path

import pyarrow as pa
import pytest

from raysweep.errors import DamagedFileError, WorkError
from raysweep.json_file import mapping
from raysweep.patches.outcomes import read_outcomes
from raysweep.storage import Artefact, Storage


@pytest.mark.parametrize("data", [b"", b'{"fingerprint": ', b"\xff\x00", b"[" * 100_000, b"[1]", b"null"])
def test_a_damaged_file_is_one_sentence(data: bytes, tmp_path: Path) -> None:
    artefact = Artefact(Storage.open(tmp_path), {"a": 1})
    artefact.folder.write_bytes(data, "manifest.json")
    with pytest.raises(DamagedFileError, match=r"manifest\.json: is damaged; remove the folder that it is in") as told:
        artefact.done()
    assert isinstance(told.value, WorkError)
    assert isinstance(told.value, ValueError)  # for those who go on without the file


def test_a_damaged_table_is_one_too(tmp_path: Path) -> None:
    (tmp_path / "slides.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DamagedFileError, match=r"slides\.parquet: is damaged") as told:
        read_outcomes(Storage.open(tmp_path))
    assert isinstance(told.value, pa.ArrowException)


def test_a_mapping_has_the_keys_that_are_asked_for() -> None:
    assert mapping({"a": 1, "b": 2}, "x", "a") == {"a": 1, "b": 2}
    for value in ({"b": 2}, [1], None):
        with pytest.raises(DamagedFileError, match=r"^x: is damaged"):
            mapping(value, "x", "a")
