"""What of a text is nobody else's business: passwords, keys and tokens that stand in addresses."""

import re
from typing import Any

_SHOWN = frozenset({"allow_bucket_creation", "allow_delayed_open", "endpoint_override", "region", "scheme"})
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>]*")
# A user's part of an address. After a colon that begins no port a password may hold anything, a slash too.
_USER = re.compile(r"(?<=://)(?:[^/@:]*:(?!\d{1,5}(?:[/?]|$)).*@|[^/@]*@)")
_HALF = re.compile(r"(?<=://)[^/@:\[]*:(?!\d{1,5}(?:[/?]|[:,;.)]*$)).+")  # one that was cut in its password
_OPTIONS = re.compile(r"\?[^\s'\"()<>?]*=[^\s'\"()<>]*")  # also of an address that is told in parts
_SECRET = re.compile(r"secret|token|passw|credential|signature|access_?key|api_?key|^sig$|^key$", re.IGNORECASE)
_OPTION = re.compile(r"(?<=[?&])([^=&]*)=([^&]*)")


def without_secrets(text: str) -> str:
    """A sentence whose addresses have no user and no password, and `…` for what may be a secret of their options.

    Options that say where a bucket is stay: its region, scheme and endpoint.
    """
    if "://" in text:
        text = _ADDRESS.sub(lambda found: _HALF.sub("…", _USER.sub("", found[0])), text)
    return _OPTIONS.sub(lambda found: _OPTION.sub(_told, found[0]), text) if "?" in text else text


def redacted(value: Any) -> Any:
    """The same of all addresses in lists and mappings, their keys included; everything else as it is."""
    if isinstance(value, str):
        return _ADDRESS.sub(lambda found: without_secrets(found[0]), value) if "://" in value else value
    if isinstance(value, dict):
        return {redacted(key): redacted(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(inner) for inner in value]
    return value


def has_secret(text: str) -> bool:
    """Whether an address in a text names a user, or has an option that may be a secret."""
    return bool(redacted(text) != text)


def secret_line(text: str) -> int | None:
    """The number of the first line of a file with a password in an address; None: there is none.

    Addresses of pages often have options that are no secret (`?download=1`): of those the names decide.
    """
    for number, line in enumerate(text.splitlines() if "://" in text else (), 1):
        for found in _ADDRESS.finditer(line):
            address = found[0]
            options = _OPTION.findall(address)
            if without_secrets(address.partition("?")[0]) != address.partition("?")[0]:
                return number
            if any(_SECRET.search(name) for name, value in options if value):
                return number
    return None


def _told(option: re.Match[str]) -> str:
    return option[0] if option[1] in _SHOWN or not option[2] else f"{option[1]}=…"
