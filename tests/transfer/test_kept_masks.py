"""Masks that are kept: class ids and ignored pixels as they were counted, and no influence on what is predicted."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from raysweep.storage import Storage
from raysweep.tasks.masks import IGNORED
from raysweep.tasks.task import Task
from raysweep.transfer.kept_masks import MASKS_SCHEMA, KeptMasks
from raysweep.transfer.metrics.pixels import count_pixels
from raysweep.transfer.protocol import get_protocol
from tests.transfer.tiny import make_job, make_task

SIZES = [(32, 32)] * 8 + [(40, 33), (20, 64), (32, 32)]


def test_a_kept_mask_is_what_was_counted(checkpoint: Callable[..., Storage], tmp_path: Path) -> None:
    task = make_task(tmp_path / "data", "segmentation", SIZES)
    card = task.card.model_copy(update={"layout": {"type": "image_mask_pairs", "masks": {"ignore": [7]}}})
    for sample in task.samples:
        mask = np.array(Image.open(task.root / str(sample.mask)))
        mask[:3] = 7
        Image.fromarray(mask).save(task.root / str(sample.mask))
    folder = Storage.open(tmp_path / "task")
    Task(card, task.root, task.samples).save(folder)
    run = get_protocol("finetune").start(make_job(checkpoint("test_resnet"), folder))
    run.advance()
    kept = KeptMasks([10, 8, 3])
    table = run.predict([9, 10, 8], masks=kept)
    assert table.equals(run.predict([9, 10, 8]))
    found = kept.table(fold=2)
    assert found.schema.equals(MASKS_SCHEMA)
    rows = {row["sample"]: row for row in found.to_pylist()}
    assert list(rows) == ["10", "8"]
    counted = {row["sample"]: row for row in table.to_pylist()}
    for name, row in rows.items():
        ids = np.asarray(Image.open(io.BytesIO(row["mask"])))
        truth = np.array(Image.open(task.root / f"masks/{name}.png"))
        truth[truth == 7] = IGNORED
        assert ids.shape == truth.shape == SIZES[int(name)]
        assert ((ids == IGNORED) == (truth == IGNORED)).all()
        again = count_pixels(ids, truth, 2)
        assert again.tolist() == [counted[name][key] for key in ("tp", "fp", "fn")]
        assert (row["unit"], row["fold"]) == (task.samples[int(name)].unit, 2)
