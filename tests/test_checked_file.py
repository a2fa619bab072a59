"""Parts of a file of object storage of which less comes than Arrow says."""

import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep.checked_file import CheckedFile, read_whole


class _Short(io.BytesIO):
    """A file that fills less than it says, the first `times`, like Arrow's of S3 when an answer is cut."""

    def __init__(self, data: bytes, left: int, times: int) -> None:
        super().__init__(data)
        self._left, self._times = left, times

    def readinto(self, room: bytearray) -> int:
        data = self.read(len(room))
        self._times -= 1
        came = min(self._left, len(data)) if self._times >= 0 else len(data)
        room[:came] = data[:came]
        return len(data)

    def size(self) -> int:
        return len(self.getvalue())


@given(st.binary(min_size=1, max_size=80), st.data())
def test_however_little_is_missing_it_is_not_taken_for_whole(data: bytes, draw: st.DataObject) -> None:
    left = draw.draw(st.integers(0, len(data) - 1))
    with pytest.raises(OSError, match=f"not all of {len(data)} bytes came"):
        read_whole(_Short(data, left, times=2), len(data))
    assert read_whole(_Short(data, left, times=0), len(data)) == data


@pytest.mark.parametrize("last", range(256))
def test_any_last_byte_may_be_the_right_one(last: int) -> None:
    data = bytes([7, last])
    assert read_whole(_Short(data, 0, times=0), 2) == data
    assert read_whole(_Short(b"", 0, times=0), 0) == b""


@given(
    st.binary(max_size=60), st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70)), max_size=5), st.integers(0, 9)
)
def test_parts_are_asked_for_until_they_are_whole(data: bytes, parts: list, times: int) -> None:
    class Fs:
        def open_input_file(self, path: str) -> _Short:
            nonlocal times
            times -= 1
            return _Short(data, len(data) // 2, times=2 * (times >= 0))

    def patiently(call):
        while True:
            try:
                return call()
            except OSError:
                continue

    file = pa.PythonFile(CheckedFile(Fs(), "x", patiently), mode="r")
    for start, size in parts:
        file.seek(min(start, len(data)))
        assert file.read(size) == data[start : start + size]
