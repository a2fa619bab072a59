import pytest
from pydantic import ValidationError

from raysweep.tasks.obtain.spec import Download, RemoteFile


def test_a_file_is_called_as_the_end_of_its_address():
    assert RemoteFile(url="https://example.org/files/A%20set.tar.gz?download=1").name == "A set.tar.gz"
    assert RemoteFile(url="https://example.org/get/17", name="set.zip").name == "set.zip"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.zip", "zip"), ("A.ZIP", "zip"), ("a.tar.gz", "tar"), ("a.tgz", "tar"), ("a.h5.gz", "gz"), ("a.h5", None)],
)
def test_the_kind_of_an_archive_is_its_ending(name, kind):
    assert RemoteFile(url=f"https://example.org/{name}").archive == kind


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"url": "ftp://example.org/a.zip"}, "an address begins with https://"),
        ({"url": "https://example.org/"}, "name: is missing"),
        ({"url": "https://example.org/x", "name": "../x"}, "a file's name below the root"),
        ({"url": "https://example.org/x.rar", "unpack": "."}, "ends in none of .zip"),
        ({"url": "https://example.org/x.zip", "unpack": "../y"}, "a folder below the root"),
        ({"url": "https://example.org/x.zip", "md5": "12"}, "should match pattern"),
    ],
)
def test_what_a_file_cannot_be(keys, words):
    with pytest.raises(ValidationError, match=words):
        RemoteFile(**keys)


def test_a_file_behind_a_login_needs_a_page_and_names_differ():
    with pytest.raises(ValidationError, match="a file without a url needs it"):
        Download(files=[{"name": "a.zip"}])
    assert Download(page="https://example.org", files=[{"name": "a.zip"}]).files[0].url is None
    with pytest.raises(ValidationError, match="a name of its own"):
        Download(page="p", files=[{"name": "a.zip"}, {"name": "a.zip"}])
