"""Where images lie in the features of each checkpoint: the first two principal components, by class."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysweep.errors import WorkError
from raysweep.randomness import Names
from raysweep.report import figures
from raysweep.report.file_names import file_name
from raysweep.report.style import Mark, marks
from raysweep.storage import Storage
from raysweep.transfer.features import open_features

MOST_CHECKPOINTS = 6  # of one task
MOST_TASKS = 6
MOST_CLASSES = 8  # with more, colours would begin again
_POINTS = 300  # images in one map, the same for all checkpoints of a task


@dataclass(frozen=True)
class FeatureMap:
    """Of one task: a figure (an SVG's text) with a map per checkpoint, what it shows, and the marks of classes."""

    task: str
    caption: str
    figure: str
    figure_name: str
    alt: str
    classes: dict[str, Mark]
    note: str = ""


def read_feature_maps(
    features: Mapping[tuple[str, str], Storage], tasks: Mapping[str, Storage], seed: int
) -> list[FeatureMap]:
    """features: folders of cached features by checkpoint and task, as frozen protocols have them. tasks: folders of the
    tasks' indexes. At most MOST_TASKS tasks; none of a task without cached features, without labels or with more than
    MOST_CLASSES classes. Which images are drawn depends on the seed, the task and their ids alone."""
    out: list[FeatureMap] = []
    for task in dict.fromkeys(task for _, task in features):
        own = {name: folder for (name, other), folder in features.items() if other == task}
        found = _map(task, own, tasks[task], seed) if task in tasks else None
        if found is not None and len(out) < MOST_TASKS:
            out.append(found)
    return out


def _map(task: str, features: Mapping[str, Storage], index: Storage, seed: int) -> FeatureMap | None:
    try:
        classes = list(index.read_json("task.json")["card"]["classes"])
        table = index.read_table("index.parquet", columns=["id", "label"])
    except (OSError, KeyError, pa.ArrowException):
        return None
    labels = dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))
    if len(classes) > MOST_CLASSES or None in labels.values() or not labels:
        return None
    ids = np.array(sorted(labels))
    drawn = ids[np.argsort(Names(ids.tolist()).hashes(("map", seed, task)), kind="stable")][:_POINTS]
    panels: dict[str, dict[str, np.ndarray]] = {}
    said = []
    for name, folder in list(features.items())[:MOST_CHECKPOINTS]:
        found = _components(folder, drawn.tolist())
        if found is None:
            continue
        points, shares = found
        of_class = np.array([labels[i] for i in drawn.tolist()])
        title = f"{figures.short(name)}: {100 * shares[0]:.0f} %, {100 * shares[1]:.0f} %"
        panels[title] = {label: points[of_class == k] for k, label in enumerate(classes) if (of_class == k).any()}
        said.append(f"{name} {100 * shares.sum():.0f} %")
    if not panels:
        return None
    look = marks(classes)
    caption = (
        f"{len(drawn)} images of the task, drawn by the study's seed, on the first two principal components of each "
        "checkpoint's frozen features, and the parts of their variance that these hold. Each map has its own axes. "
        "Colours are classes here. Two components are little: what lies together here may lie apart in others."
    )
    alt = f"Principal components of features on {task}, by class; variance that the two hold: {', '.join(said)}"
    left = len(features) - len(panels)
    note = f"{left} more checkpoints are not drawn." if left else ""
    return FeatureMap(task, caption, figures.clouds(panels, look), file_name(f"features-{task}"), alt, look, note)


def _components(folder: Storage, wanted: list[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """(n, 2) in units of the first component's largest distance from 0, rounded, and the (2,) shares of variance."""
    from sklearn.decomposition import PCA

    try:
        samples, features = open_features(folder)
    except (OSError, ValueError, WorkError, pa.ArrowException):
        return None
    row = {sample: i for i, sample in enumerate(samples.to_pylist())}
    if any(sample not in row for sample in wanted) or len(wanted) < 3 or features.shape[1] < 2:
        return None
    found = PCA(2, svd_solver="full")
    points = found.fit_transform(np.asarray(features[[row[sample] for sample in wanted]], np.float64))
    most = np.abs(points[:, 0]).max()
    if not most:
        return None
    return np.round(points / most, 3), found.explained_variance_ratio_
