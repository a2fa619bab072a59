"""Thumbnails are made by workers, and what cannot be made is said."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from raysweep.progress import Progress
from raysweep.storage import Storage
from raysweep.study.thumbnails import make_thumbnails
from raysweep.tasks import thumbnails
from raysweep.tasks.thumbnails import has_thumbnails, thumbnails_file
from tests.transfer.tiny import make_task


def test_workers_make_what_is_missing(tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = {name: Storage.open(tmp_path / "tasks" / name) for name in ("whole", "broken")}
    for name, folder in tasks.items():
        task = make_task(tmp_path / "data" / name, "segmentation", [(40, 30)] * 12)
        task.card = task.card.model_copy(update={"root": name})
        task.save(folder)
    for image in (tmp_path / "data/broken/images").iterdir():
        image.write_bytes(b"no picture")

    def never(*_: object) -> None:
        raise AssertionError("the driver decodes nothing")

    monkeypatch.setattr(thumbnails, "read_sample", never)
    said = io.StringIO()
    how = {"data": str(tmp_path / "data"), "seed": 0, "progress": Progress(Console(file=said, width=300))}
    make_thumbnails(tasks, **how)
    assert [has_thumbnails(folder, 0) for folder in tasks.values()] == [True, False]
    assert tasks["whole"].read_table(thumbnails_file(0)).num_rows > 0
    assert said.getvalue().count("failed") == 1
    assert "thumbnails of task broken: failed (task tiny: " in said.getvalue()
    made = Path(tasks["whole"].path(thumbnails_file(0)))
    before = made.stat().st_mtime_ns
    make_thumbnails({"whole": tasks["whole"]}, **how)
    assert made.stat().st_mtime_ns == before
