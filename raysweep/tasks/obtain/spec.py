"""Where a data set's files are to be had: the `download:` key of a card."""

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import Field, model_validator

from raysweep.model import Model

_ZIP, _TAR, _GZ = (".zip",), (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"), (".gz",)


class RemoteFile(Model):
    """One file: on the web, or to be fetched by a person and put below the root."""

    url: str | None = Field(None, description="http or https; none: it is behind a login, see `page`")
    name: str = Field("", description="what it is called; default: the last part of the url")
    size: int | None = Field(None, ge=1, description="bytes; another size is another version, and refused")
    md5: str | None = Field(None, pattern=r"^[0-9a-f]{32}$")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    unpack: str | None = Field(
        None, description="an archive: the folder below the root that it is unpacked into, `.` for the root itself; "
        "none: the file is kept as it is, below the root",
    )  # fmt: skip
    unpacked: int | None = Field(
        None, ge=1, description="bytes that an archive holds, at most; default: a cautious bound"
    )

    @model_validator(mode="before")
    @classmethod
    def _called(cls, value: Any) -> Any:
        if isinstance(value, dict) and not value.get("name") and isinstance(value.get("url"), str):
            return value | {"name": unquote(PurePosixPath(urlsplit(value["url"]).path).name)}
        return value

    @model_validator(mode="after")
    def _whole(self) -> "RemoteFile":
        if self.url is not None and urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError(f"url: {self.url}: an address begins with https://")
        parts = PurePosixPath(self.name).parts
        if not parts or parts[0] == "/" or ".." in parts or "\\" in self.name:
            raise ValueError(f"name: {self.name or 'is missing'}: a file's name below the root")
        if self.unpack is not None:
            folder = PurePosixPath(self.unpack)
            if folder.is_absolute() or ".." in folder.parts:
                raise ValueError(f"unpack: {self.unpack}: a folder below the root")
            if self.archive is None:
                raise ValueError(f"unpack: {self.name}: ends in none of {', '.join((*_ZIP, *_TAR, *_GZ))}")
        return self

    @property
    def archive(self) -> str | None:
        """zip, tar or gz (one file, compressed), by its name; None for any other file."""
        name = self.name.lower()
        kinds = {"zip": _ZIP, "tar": _TAR, "gz": _GZ}
        return next((kind for kind, endings in kinds.items() if name.endswith(endings)), None)


class Download(Model):
    """The files of a set, and the page of those that no address leads to."""

    page: str | None = Field(None, description="where a person gets the files without a url")
    files: list[RemoteFile] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_once(self) -> "Download":
        names = [file.name for file in self.files]
        if len(set(names)) < len(names):
            raise ValueError("files: every file has a name of its own")
        if self.page is None and any(file.url is None for file in self.files):
            raise ValueError("page: a file without a url needs it, the page where a person gets it")
        return self
