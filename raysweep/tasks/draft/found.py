"""What a way of looking at a folder has found: a layout, and what it says of each image."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Found:
    """Images of a task, N of them, as a layout would list them.

    `labels` (classification) or `masks` (segmentation), `units` and `sides` (train, val, test) have a value for each
    image; `units` and `sides` are None where nothing says so. `warnings` are what a person must look at.
    """

    kind: str
    layout: dict[str, Any]
    images: list[str]
    labels: list[str] | None = None
    masks: list[str] | None = None
    units: list[str] | None = None
    unit: str = "image"
    listed: int | None = None  # what the layout lists, where some of it is not there
    sides: list[str | None] | None = None
    split_values: dict[str, str] = field(default_factory=dict)  # the set's own words -> train, val, test
    warnings: list[str] = field(default_factory=list)
