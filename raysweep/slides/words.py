"""Words of a study file that YAML may have taken for something else."""

from typing import Any


def word(key: str, value: Any) -> str:
    """A number as the text it was. Raises ValueError for others that are no text any more: which word is lost."""
    if value is None or isinstance(value, bool):
        raise ValueError(
            f"{key}: YAML reads the words yes, no, on, off, true, false and null as values of their own; write them "
            f"in quotes, as in {key}: 'yes'"
        )
    return str(value)
