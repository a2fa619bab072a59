"""Names of figure files."""

import re

from raysweep.randomness import stable_hash


def file_name(name: str) -> str:
    """A name that is safe in any filesystem: others than letters, digits and . _ - become _ and a hash is added."""
    safe = re.sub(r"[^A-Za-z0-9._=+-]", "_", name)
    return safe if safe == name else f"{safe[:80]}-{stable_hash(name):016x}"
