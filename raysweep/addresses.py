"""Where files are: paths, and addresses of filesystems such as `s3://bucket/folder`."""

import os
import posixpath
import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from raysweep.errors import RequestError
from raysweep.secrets import without_secrets

_ADDRESS = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]+://|(file|s3|gs|gcs|hdfs|abfss?|https?):/", re.IGNORECASE
)  # C:// is none


def is_address(path: str | Path) -> bool:
    """Whether this is a filesystem address (`s3://bucket/file`) and not a path.

    `file:/folder` is one too (RFC 8089), and so is `s3:/bucket`, of which `locate` says what is wrong with it.
    """
    return _ADDRESS.match(str(path)) is not None


def at_home(path: str | Path) -> Path:
    """The path with a `~` at its beginning as the user's folder.

    Raises RequestError for a user whom this machine does not know; a name such as `~x.svs` stays as it is.
    """
    found = os.path.expanduser(path)
    if found.startswith("~") and "/" in found:
        user = found.partition("/")[0][1:]
        lacks = f"has no user {user}" if user else "knows no home folder of this user"
        raise RequestError(f"{path}: this machine {lacks}; write the path in full, or ./{path}")
    return Path(found)


def locate(path: str | Path) -> tuple[pafs.FileSystem, str]:
    """The filesystem of a path or address, and that filesystem's own name of the file or folder; it need not exist.

    Spaces and other odd characters of an address may be written as they are or as %XX; a `?` in a name only as %3F.
    Raises RequestError when the address cannot be understood.
    """
    text = str(path)
    if not is_address(text):
        return pafs.LocalFileSystem(), at_home(text).absolute().as_posix()
    parts = urlsplit(text, allow_fragments=False)
    if not parts.netloc and text[len(parts.scheme) + 1 :][:2] != "//" and parts.scheme != "file":
        meant = shown(f"{parts.scheme}:/{text[len(parts.scheme) + 1 :]}")
        raise RequestError(f"{parts.scheme}:/ begins no address; write {meant}")
    options = [parts.query] if parts.query else []
    if parts.scheme == "s3" and "allow_delayed_open" not in parts.query:
        options.append("allow_delayed_open=true")  # a small file is one request in place of three
    fs, root = _filesystem(f"{parts.scheme}://{parts.netloc}/" + "?" * bool(options) + "&".join(options))
    return fs, "/".join([root, unquote(parts.path).strip("/")]).rstrip("/") or "/"


def possible(path: str | Path) -> None:
    """Raise RequestError for characters that no path has. (A slide that is called so is as good as missing.)"""
    try:
        no_path = b"\0" in os.fsencode(path)
    except UnicodeEncodeError:
        no_path = True
    if no_path:
        raise RequestError(f"{str(path)!a}: has characters that no path has; write another one")


def in_utf8(path: str) -> str:
    """The path, of a folder that names of files are written down for. Raises RequestError where it is not UTF-8."""
    possible(path)
    plain = path.encode(errors="backslashreplace").decode()
    if plain != path:
        raise RequestError(f"{plain}: its name is not UTF-8; rename it, or name another folder")
    return path


@lru_cache(64)  # one filesystem a bucket: finding the region of a bucket costs a request
def _filesystem(address: str) -> tuple[pafs.FileSystem, str]:
    try:
        fs, root = pafs.FileSystem.from_uri(address)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).replace(address, shown(address))
        raise RequestError(f"{shown(address)}: not a path or filesystem address ({reason})") from error
    return fs, root.rstrip("/")


def join(root: str, name: str) -> str:
    """The path or address of a file below a folder, or `name` itself where it is an address or an absolute path."""
    if is_address(name):
        return name
    below = Path(os.path.expanduser(name))
    if below.is_absolute() or not is_address(root):
        return (Path(root) / below).absolute().as_posix()
    parts = urlsplit(root, allow_fragments=False)
    return parts._replace(path=posixpath.normpath(f"{parts.path}/{quote(below.as_posix())}")).geturl()


def shown(path: str | Path) -> str:
    """A path or address as people may see it: without the password and the options of an address."""
    if not is_address(path):
        return str(path)
    parts = urlsplit(without_secrets(str(path)), allow_fragments=False)
    return f"{parts.scheme}://{parts.netloc}{unquote(parts.path)}"
