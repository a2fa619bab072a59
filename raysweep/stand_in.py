"""What often stands in the place of a file that was to be fetched: a pointer, a web page, nothing."""

from pathlib import Path

_HEAD = 512  # bytes that tell
_POINTER = b"version https://git-lfs.github.com/spec/"  # https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_PAGES = (b"<!doctype html", b"<html")


def stand_in(path: Path) -> str | None:
    """What a file holds in place of what its name says, and what to do, after "it is"; None where it is not such a one.

    Only its first bytes are read. Raises OSError where it cannot be.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "empty; get it anew"
    if head.startswith(_POINTER):
        return "a pointer of Git LFS and not the file itself; run `git lfs pull` in the folder that was cloned"
    if text.startswith(_PAGES):
        return "a web page and not the file itself; get the file that the page leads to"
    if text.startswith(b"<?xml") and b"<error>" in text:
        return "a server's message of an error and not the file itself; get it anew"
    return None
