"""Decoders, one file each. A file's name is the decoder's name; `register` enters its class.

Light: a file, and torch with it, is imported when its decoder is wanted.
"""

import difflib
import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from raysweep.errors import RequestError
from raysweep.model import problem

if TYPE_CHECKING:
    from raysweep.model import Model
    from raysweep.transfer.decoder import Decoder

DecoderChoice = str | dict[str, Any]  # a decoder's name, or {type: name, option: value}

_decoders: dict[str, "type[Decoder]"] = {}


def register(decoder: "type[Decoder]") -> "type[Decoder]":
    """Class decorator: make a decoder known under its name."""
    _decoders[decoder.name] = decoder
    return decoder


def decoder_names() -> list[str]:
    """The decoders there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def check_name(choice: DecoderChoice) -> str:
    """The name in a choice. Raises RequestError, with the nearest names, when there is no such decoder; light."""
    name = choice if isinstance(choice, str) else choice.get("type")
    known = decoder_names()
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5) if name else []
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"
        said = f"there is no decoder {name}" if name else "a decoder's name is missing; give it as type"
        raise RequestError(f"{said}; {hint}")
    return str(name)


def decoder_words(choice: DecoderChoice) -> str:
    """A choice as people read it: `unet`, `deeplabv3 (output_stride: 8)`."""
    if isinstance(choice, str):
        return choice
    options = ", ".join(f"{key}: {value}" for key, value in choice.items() if key != "type")
    return f"{choice['type']} ({options})" if options else str(choice["type"])


def find_decoder(choice: DecoderChoice) -> "tuple[type[Decoder], Model]":
    """A decoder and its options. Raises RequestError for an unknown name, or options that it cannot have."""
    name = check_name(choice)
    importlib.import_module(f"{__name__}.{name}")
    decoder = _decoders[name]
    given = {} if isinstance(choice, str) else {key: value for key, value in choice.items() if key != "type"}
    try:
        return decoder, decoder.Options.model_validate(given)
    except ValidationError as error:
        key, message, first = problem(error)
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(decoder.Options.model_fields)) or "none"
            raise RequestError(f"decoder.{key}: {name} has no such option; it has {known}") from error
        message = message[0].lower() + message[1:]
        raise RequestError(f"decoder.{key}: {message} (given: {first['input']!r}, decoder {name})") from error


def plain(choice: DecoderChoice) -> DecoderChoice:
    """The shortest way to say a choice: options that are at their default change nothing and are left out.

    Raises RequestError as `find_decoder`.
    """
    if isinstance(choice, str):
        return check_name(choice)
    decoder, options = find_decoder(choice)
    changed = options.model_dump(mode="json", exclude_defaults=True)
    return {"type": decoder.name, **changed} if changed else decoder.name
