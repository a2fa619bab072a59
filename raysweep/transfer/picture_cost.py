"""What the pictures of a task cost on this machine: some of them are read."""

from contextlib import suppress

from raysweep.backbones.machine import seconds_of
from raysweep.errors import WorkError
from raysweep.tasks.task import Task
from raysweep.transfer.images import HELD_BYTES, Picture, read_picture
from raysweep.transfer.speed_record import PictureCost
from raysweep.transfer.windows import window_origins

_READ = 6


def picture_cost(task: Task) -> PictureCost:
    """Read a few pictures, evenly spread over the task. Those that cannot be read are left out."""
    step = max(1, len(task.samples) // _READ)
    chosen = range(0, len(task.samples), step)[:_READ]
    read: list[Picture] = []

    def look() -> None:
        for index in chosen:
            with suppress(WorkError):  # the search will say what is wrong with it
                read.append(read_picture(task, index))

    seconds = seconds_of(look)
    if not read:
        return PictureCost(0.0, 1.0, task.card.px**2 / 1e6, 1.0)
    n = len(read)
    held = sum(p.image.nbytes + (0 if p.mask is None else p.mask.nbytes) for p in read) / n
    return PictureCost(
        decode=seconds / n,
        windows=sum(len(window_origins(p.image.shape[0], p.image.shape[1], task.card.px)) for p in read) / n,
        megapixels=sum(p.height * p.width for p in read) / n / 1e6,
        held=min(1.0, HELD_BYTES / (held * len(task.samples))),
    )
