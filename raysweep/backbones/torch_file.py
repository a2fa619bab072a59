"""Files of `torch.save` that others may have written: read as tensors alone, and only where they are what they seem."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any


def load_tensors(source: Path | io.BytesIO) -> Any:
    """What a file of `torch.save` holds, tensors on the CPU. Nothing in it is run.

    Raises pickle.UnpicklingError for one that holds more than tensors and plain values, ValueError for one that would
    unpack to more than its own size, and what torch raises for a damaged one.
    """
    import torch

    size = len(source.getbuffer()) if isinstance(source, io.BytesIO) else source.stat().st_size
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            held = sum(member.file_size for member in archive.infolist())
        if held > size:
            raise ValueError(
                f"it claims {held:,} bytes and has {size:,}; torch compresses nothing: it is no file of its"
            )
    if isinstance(source, io.BytesIO):
        source.seek(0)
    try:
        if isinstance(source, Path) and source.suffix.lower() == ".safetensors":  # torch goes by the name of a path
            with open(source, "rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
        return torch.load(source, map_location="cpu", weights_only=True)
    except RecursionError as error:
        raise pickle.UnpicklingError("it is nested too deep") from error
