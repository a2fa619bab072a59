"""What a survey makes of a slide that failed by accident, and of one that is no brightfield."""

import errno
import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest
import tifffile

from raysweep.slides import pipeline
from raysweep.slides.pipeline import Cutting, Limits
from raysweep.slides.readers.jpeg_tiff import JpegTiffReader
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import SlideEntry
from raysweep.storage import Storage

from .slidemaker import tissue, write_slide

CUTTING = Cutting(PatchSetSpec(slides="a", um=32, px=64, tissue="all"), (), 0, False, Limits())


def surveyed(path, folder):
    """The rows that a survey of one slide gives."""
    entry = json.dumps(asdict(SlideEntry("a", path.as_posix())))
    batch = pa.Table.from_pylist([{"entry": entry, "folder": "a"}])
    found = pipeline._survey_slides(batch, Storage.open(folder), CUTTING, "run")
    return pa.concat_tables(found).to_pylist()


@pytest.mark.parametrize(
    ("error", "often", "tried", "says"),
    [
        (OSError(errno.EIO, "Input/output error"), 0, 1, None),
        (OSError(errno.EIO, "Input/output error"), 2, 3, None),
        (OSError(errno.EIO, "Input/output error"), 9, 3, "OSError: [Errno 5] Input/output error"),
        (ValueError("damaged"), 9, 1, "ValueError: damaged"),
    ],
)
def test_an_accident_is_tried_again_and_damage_is_not(tmp_path, monkeypatch, error, often, tried, says):
    monkeypatch.setattr("raysweep.retry.time.sleep", lambda seconds: None)
    crops, tries = JpegTiffReader.crops, []

    def failing(self, level, boxes):
        tries.append(level)
        if len(tries) <= often:
            raise error
        return crops(self, level, boxes)

    monkeypatch.setattr(JpegTiffReader, "crops", failing)
    path = write_slide(tmp_path / "a.svs", tissue(256, 256), compression="jpeg")
    (row,) = surveyed(path, tmp_path / "spool")
    assert (row["error"], row["cuts"], len(tries)) == (says, 0 if says else 1, tried)


def test_channels_are_skipped_and_not_failed(tmp_path):
    channels = np.stack([tissue(128, 128)[..., 0].astype(np.uint16)] * 2)
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "Cy5"]}}
    tifffile.imwrite(tmp_path / "a.tif", channels, ome=True, photometric="minisblack", metadata=metadata)
    (row,) = surveyed(tmp_path / "a.tif", tmp_path / "spool")
    assert row["error"] is None
    survey = json.loads(row["survey"])
    assert survey["reason"] == "not brightfield: 2 channels, each an image of its own (DAPI, Cy5)"
    outcome = pipeline_outcome(survey)
    assert (outcome.status, outcome.reason, outcome.pieces) == ("skipped", survey["reason"], [])


def pipeline_outcome(survey):
    from raysweep.slides.read_all import _outcome

    result = {"piece": "/", "patches": 0, "bytes": 0, "rejected": "{}", "seconds": 0.0}
    return _outcome(survey, {-1: result}, "a")
