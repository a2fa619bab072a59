"""Values of HDF5 files of strangers: none from another file, and none that a small file makes huge."""

import math

import h5py

from raysweep.errors import WorkError

_MOST_CHUNK = 2**30  # bytes that are unpacked for a single value
_MOST_LINKS = 16  # that lead from one to the next


def find_dataset(file: h5py.File, key: str) -> h5py.Dataset | None:
    """The data set of that name; None where there is none.

    Raises WorkError for one whose values are in other files (HDF5 names them by any path), or whose pieces are huge.
    """
    _check_links(file, key, _MOST_LINKS)
    found = file.get(key)
    if not isinstance(found, h5py.Dataset):
        return None
    if found.external or found.is_virtual or found.file.filename != file.filename:
        raise WorkError(f"the values of {key} are in another file, which is not read; copy them into this one")
    if math.prod(found.chunks or (0,)) * found.dtype.itemsize > _MOST_CHUNK:
        raise WorkError(f"{key} is stored in pieces of more than {_MOST_CHUNK / 2**30:g} GiB; write smaller chunks")
    return found


def check_size(dataset: h5py.Dataset, most_bytes: int) -> None:
    """Raise WorkError where all values, read at once, take more than that: a file of a few bytes can claim any size."""
    size = math.prod(dataset.shape or (1,)) * dataset.dtype.itemsize
    if size > most_bytes:
        raise WorkError(f"{dataset.name.lstrip('/')} claims {size / 2**30:.3g} GiB, more than {most_bytes / 2**30:.3g}")


def _check_links(file: h5py.Group, key: str, left: int) -> None:
    """Raise WorkError where the way to a name leaves the file, before anything else is opened."""
    place: h5py.Group = file
    for part in filter(None, key.split("/")):
        links, name = place.id.links, part.encode()
        if not links.exists(name):
            return
        kind = links.get_info(name).type
        if kind not in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT) or not left:
            raise WorkError(f"{key} is a link to another file, which is not followed; copy its values into this one")
        if kind == h5py.h5l.TYPE_SOFT:
            path = links.get_val(name).decode()
            _check_links(place.file if path.startswith("/") else place, path, left - 1)
        found = place.get(part)
        if not isinstance(found, h5py.Group):
            return
        place = found
