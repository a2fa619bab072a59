"""Thumbnails of the test images that finals keep masks of, made by Ray's workers: the driver decodes no image."""

from collections.abc import Mapping

from raysweep.errors import reason_of
from raysweep.progress import Progress
from raysweep.storage import Storage
from raysweep.tasks.task import Task
from raysweep.tasks.thumbnails import has_thumbnails, save_thumbnails


def make_thumbnails(tasks: Mapping[str, Storage], *, data: str, seed: int, progress: Progress) -> None:
    """Write those that are missing: `tasks` are the folders of segmentation tasks by name.

    data: the folder that the tasks' own folders stand in. seed: the study's. Ray is initialised, if any is missing.
    Nothing else depends on thumbnails, so what fails is said, and the next run tries it again.
    """
    missing = {name: folder for name, folder in tasks.items() if not has_thumbnails(folder, seed)}
    if not missing:
        return
    import ray

    save = ray.remote(_save)
    waiting = {name: save.remote(folder, data, seed) for name, folder in missing.items()}
    for name, made in waiting.items():
        try:
            ray.get(made)
        except Exception as error:
            cause = getattr(error, "cause", None) or error
            progress.say(f"thumbnails of task {name}: failed ({reason_of(cause)})")


def _save(folder: Storage, data: str, seed: int) -> None:
    save_thumbnails(Task.load(folder, data), folder, seed)
