"""A file from a server that drops, lies, moves and knows no ranges."""

import errno
import hashlib
import threading

import pytest

from raysweep.errors import WorkError
from raysweep.tasks.obtain import fetch as module
from raysweep.tasks.obtain.fetch import GivenUpError, fetch
from raysweep.tasks.obtain.spec import RemoteFile

CONTENT = bytes(range(256)) * 40_000  # 10 MB
MD5 = hashlib.md5(CONTENT).hexdigest()


class Told:
    def __init__(self) -> None:
        self.sum = 0

    def __call__(self, n: int) -> None:
        self.sum += n


def _fetch(folder, url: str, *, tell=lambda n: None, stop=None, **keys):
    folder.mkdir(exist_ok=True)
    return fetch(RemoteFile(url=url, **keys), folder, tell=tell, stop=stop or threading.Event())


def test_a_file_is_whole_checked_and_fetched_once(tmp_path, web):
    told = Told()
    url = web.put("a%20set.zip", CONTENT)
    path = _fetch(tmp_path, url, size=len(CONTENT), md5=MD5, tell=told)
    assert path.name == "a set.zip"
    assert path.read_bytes() == CONTENT
    assert told.sum == len(CONTENT)
    assert _fetch(tmp_path, url, size=len(CONTENT), md5=MD5) == path
    assert web.asked == [("/a%20set.zip", None)]
    assert [p.name for p in tmp_path.iterdir()] == ["a set.zip"]


def test_a_connection_that_drops_again_and_again_goes_on_where_it_was(tmp_path, web):
    told = Told()
    url = web.put("x.bin", CONTENT, drop_after=1_500_000)
    path = _fetch(tmp_path, url, sha256=hashlib.sha256(CONTENT).hexdigest(), tell=told)
    assert path.read_bytes() == CONTENT
    assert told.sum == len(CONTENT)
    starts = [int(r.removeprefix("bytes=").rstrip("-")) for _, r in web.asked if r]
    assert starts == [1_500_000 * i for i in range(1, 7)]


def test_without_ranges_it_begins_anew(tmp_path, web):
    url = web.put("x.bin", CONTENT, drop_after=1_500_000, drops=2, ranges=False)
    assert _fetch(tmp_path, url, md5=MD5).read_bytes() == CONTENT
    assert len(web.asked) == 3


def test_without_ranges_and_without_an_end_it_is_given_up_and_kept(tmp_path, web):
    url = web.put("x.bin", CONTENT, drop_after=1_500_000, ranges=False)
    with pytest.raises(WorkError, match=r"cannot be fetched .*1,500,000 bytes are kept"):
        _fetch(tmp_path, url, md5=MD5)
    assert (tmp_path / "x.bin.part").stat().st_size == 1_500_000


def test_a_stop_keeps_what_arrived_and_the_next_call_goes_on(tmp_path, web):
    url, stop = web.put("x.bin", CONTENT), threading.Event()
    with pytest.raises(GivenUpError):
        _fetch(tmp_path, url, md5=MD5, stop=stop, tell=lambda n: n and stop.set())
    have = (tmp_path / "x.bin.part").stat().st_size
    assert 0 < have < len(CONTENT)
    assert _fetch(tmp_path, url, md5=MD5).read_bytes() == CONTENT
    assert web.asked[-1] == ("/x.bin", f"bytes={have}-")


def test_of_another_version_nothing_is_put_together(tmp_path, web):
    url, stop = web.put("x.bin", b"old" * 1_000_000, etag='"old"'), threading.Event()
    with pytest.raises(GivenUpError):
        _fetch(tmp_path, url, stop=stop, tell=lambda n: n and stop.set())
    web.put("x.bin", CONTENT, etag='"new"')
    assert _fetch(tmp_path, url, md5=MD5).read_bytes() == CONTENT


def test_a_version_that_no_server_names_is_found_by_its_checksum(tmp_path, web):
    url, stop = web.put("x.bin", b"old" * 1_000_000, etag=None), threading.Event()
    with pytest.raises(GivenUpError):
        _fetch(tmp_path, url, stop=stop, tell=lambda n: n and stop.set())
    web.put("x.bin", CONTENT, etag=None)
    assert _fetch(tmp_path, url, md5=MD5).read_bytes() == CONTENT


def test_redirects_are_followed(tmp_path, web):
    web.put("there.bin", CONTENT)
    url = web.put("here.bin", redirect="/there.bin")
    assert _fetch(tmp_path, url, md5=MD5).name == "here.bin"


def test_a_busy_server_is_asked_again(tmp_path, web):
    url = web.put("x.bin", CONTENT, statuses=[503, 429, 500])
    assert _fetch(tmp_path, url, md5=MD5).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("how", "keys", "words"),
    [
        ({}, {"size": 3}, r"has 10,240,000 bytes, and the card says 3: another version"),
        ({}, {"md5": "0" * 32}, rf"its md5 is {MD5}, and the card says 0{{32}}; it was removed"),
        ({}, {"sha256": "0" * 64}, r"its sha256 is [0-9a-f]{64}, and the card says 0{64}; it was removed"),
        ({"statuses": [403]}, {}, r"the server answers 403 Forbidden; if the file has moved"),
        ({"statuses": [503] * 9}, {}, r"cannot be fetched \(the server answers 503 .*\); 0 bytes are kept"),
        ({"kind": "text/html; charset=utf-8"}, {}, r"sends a web page where x\.zip is meant: it may want a login"),
        ({"claims": 11_000_000}, {}, r"cannot be fetched"),
        ({"redirect": "/x.zip"}, {}, r"cannot be fetched \(Exceeded 30 redirects"),
    ],
)
def test_what_cannot_be_had_is_a_sentence(how, keys, words, tmp_path, web):
    url = web.put("x.zip", CONTENT, **how)
    with pytest.raises(WorkError, match=words):
        _fetch(tmp_path, url, **keys)
    assert not (tmp_path / "x.zip").exists()


def test_a_file_that_is_not_there_and_a_server_that_is_not_there(tmp_path, web):
    with pytest.raises(WorkError, match="answers 404 Not Found"):
        _fetch(tmp_path, f"{web.url}/gone.zip")
    with pytest.raises(WorkError, match=r"cannot be fetched .*put gone\.zip into the set's folder yourself"):
        _fetch(tmp_path, "http://127.0.0.1:9/gone.zip")


def test_a_full_disk_is_a_sentence_and_what_fitted_is_kept(tmp_path, web, monkeypatch):
    real, room = module._whole, [3 * 2**20]

    def until_full(stream, piece):
        room[0] -= len(piece)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(stream, piece)

    url = web.put("x.bin", CONTENT)
    monkeypatch.setattr(module, "_whole", until_full)
    with pytest.raises(WorkError, match=r"no space is left on the disk; [\d,]+ bytes of x\.bin are kept"):
        _fetch(tmp_path, url, md5=MD5)
    assert (tmp_path / "x.bin.part").stat().st_size > 0
    monkeypatch.setattr(module, "_whole", real)
    assert _fetch(tmp_path, url, md5=MD5).read_bytes() == CONTENT
    assert web.asked[-1][1] is not None
