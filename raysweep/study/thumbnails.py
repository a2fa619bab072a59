"""Thumbnails of test images, made by Ray's workers: the driver decodes no image."""

from collections.abc import Mapping

from raysweep.errors import WorkError, reason_of
from raysweep.progress import Progress
from raysweep.storage import Storage
from raysweep.tasks.task import Task
from raysweep.tasks.thumbnails import has_thumbnails, save_thumbnails


def make_thumbnails(tasks: Mapping[str, Storage], *, data: str, seed: int, progress: Progress) -> None:
    """Write those that are missing: `tasks` are the folders of tasks by name.

    data: the folder that the tasks' own folders stand in. seed: the study's. Ray is initialised, if any is missing.
    Nothing else depends on thumbnails, so what fails is said, and the next run tries it again.
    """
    missing = {name: folder for name, folder in tasks.items() if not has_thumbnails(folder, seed)}
    if not missing:
        return
    from raysweep.patches.shuffle.parallel import in_parallel

    calls = [(name, folder, data, seed) for name, folder in missing.items()]
    try:
        for name, reason in in_parallel(_save, calls, None, "making thumbnails"):
            if reason is not None:
                progress.say(f"thumbnails of task {name}: failed ({reason})")
    except WorkError as error:  # a worker died
        progress.say(str(error))


def _save(name: str, folder: Storage, data: str, seed: int) -> tuple[str, str | None]:
    """The task, and why its thumbnails could not be made."""
    try:
        save_thumbnails(Task.load(folder, data), folder, seed)
    except Exception as error:
        return name, reason_of(error)
    return name, None
