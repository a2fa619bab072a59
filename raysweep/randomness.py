"""Random numbers as a function of what they are for: nothing to save, nothing that depends on the order of work.

A stream is named by values such as (seed, epoch, patch key, view); the same values give the same stream in
every process, on every machine, in any order.
"""

import hashlib
import struct
from collections.abc import Iterable

import numpy as np

Part = int | float | str | bytes


_LENGTH = struct.Struct("<I").pack
_FLOAT = struct.Struct("<d").pack


def _canonical(parts: Iterable[Part]) -> bytes:
    out: list[bytes] = []
    for part in parts:
        if type(part) is int:  # most parts by far
            data, kind = b"%d" % part, b"i"
        elif isinstance(part, bool | np.bool_):
            raise TypeError("a stream is named by numbers and strings, not by booleans")
        elif isinstance(part, int | np.integer):
            data, kind = b"%d" % int(part), b"i"
        elif isinstance(part, float | np.floating):
            data, kind = _FLOAT(float(part)), b"f"
        elif isinstance(part, str):
            data, kind = part.encode(), b"s"
        else:
            data, kind = bytes(part), b"b"
        out += (kind, _LENGTH(len(data)), data)
    return b"".join(out)


def stable_hash(*parts: Part) -> int:
    """A 64-bit unsigned integer that depends on the parts alone (blake2b of their canonical bytes)."""
    return int.from_bytes(hashlib.blake2b(_canonical(parts), digest_size=8).digest(), "big")


def generator(*parts: Part) -> np.random.Generator:
    """A generator of the stream named by the parts (Philox, a counter-based generator: Salmon et al., SC 2011)."""
    key = hashlib.blake2b(_canonical(parts), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key, dtype=np.uint64)))


def torch_seed(*parts: Part) -> int:
    """A seed for `torch.manual_seed` and libraries that take one, in [0, 2**31)."""
    return stable_hash(*parts) >> 33


class Names:
    """Strings that are hashed for many streams: `stable_hash(*parts, name)` of all, or of some, at once."""

    def __init__(self, names: Iterable[str]) -> None:
        self._ends = [_canonical([name]) for name in names]

    def hashes(self, parts: Iterable[Part], indices: np.ndarray | None = None) -> np.ndarray:
        """uint64 (n,), in the order of `indices`; of all names where none are given."""
        begun = hashlib.blake2b(_canonical(parts), digest_size=8)
        out = []
        for end in self._ends if indices is None else map(self._ends.__getitem__, indices.tolist()):
            digest = begun.copy()
            digest.update(end)
            out.append(digest.digest())
        return np.frombuffer(b"".join(out), dtype=">u8").astype(np.uint64)
