"""Path templates such as `masks/{stem}.png`: plain names in braces, nothing else."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pydantic import field_validator

_FIELD = re.compile(r"\{([^{}]*)\}")
PATH_NAMES = ("image", "folder", "parent", "name", "stem")  # what a template may name of an image's path


def columns_of(*templates: str) -> list[str]:
    """The names that templates use, each once, in order."""
    return list(dict.fromkeys(name for text in templates for name in _FIELD.findall(text)))


def fill(text: str, values: Mapping[str, str]) -> str:
    """The template with its names replaced by their values."""
    return _FIELD.sub(lambda match: values[match.group(1)], text)


def path_names(image: str) -> dict[str, str]:
    """The values of `PATH_NAMES`: the POSIX path, its folder, the one above, its last name, and that without suffix."""
    path = PurePosixPath(image)
    folder = path.parent
    values = (image, folder.as_posix(), folder.parent.as_posix(), path.name, path.stem)
    return dict(zip(PATH_NAMES, values, strict=True))


def template(field: str, known: tuple[str, ...] = ()) -> Any:
    """A field validator: templates, one or a list, that name something, and only `known` names where there are any."""

    def check(value: str | list[str] | None) -> str | list[str] | None:
        if value == []:
            raise ValueError("give one template at least")
        for text in [value] if isinstance(value, str) else value or []:
            names = columns_of(text)
            if not names:
                raise ValueError(f"{text!r} names nothing in braces, so it is the same for every image")
            for name in names:
                if known and name not in known:
                    raise ValueError(f"{{{name}}} means nothing here; there is {', '.join(f'{{{k}}}' for k in known)}")
        return value

    return field_validator(field)(check)
