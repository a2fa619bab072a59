"""Where images lie in the features of each checkpoint: the first two principal components, and UMAP, by class."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysweep.errors import WorkError
from raysweep.randomness import Names
from raysweep.report import figures
from raysweep.report.file_names import file_name
from raysweep.report.style import Mark, marks
from raysweep.report.umap_points import HOW_TO_GET, umap_points
from raysweep.storage import Storage
from raysweep.transfer.features import open_features

MOST_CHECKPOINTS = 6  # of one task
MOST_TASKS = 6
MOST_CLASSES = 8  # with more, colours would begin again
_POINTS = 300  # images in one map, the same for all checkpoints of a task


@dataclass(frozen=True)
class UmapFigure:
    """As in FeatureMap."""

    figure: str
    figure_name: str
    alt: str


@dataclass(frozen=True)
class FeatureMap:
    """Of one task: a figure (an SVG's text) with a map per checkpoint, what it shows, and the marks of classes; the
    same by UMAP, or how to get that."""

    task: str
    caption: str
    figure: str
    figure_name: str
    alt: str
    classes: dict[str, Mark]
    note: str = ""
    umap: UmapFigure | None = None
    umap_note: str = ""


def read_feature_maps(
    features: Mapping[tuple[str, str], Storage], tasks: Mapping[str, Storage], seed: int, *, umap: bool = False
) -> list[FeatureMap]:
    """features: folders of cached features by checkpoint and task, as frozen protocols have them. tasks: folders of the
    tasks' indexes. At most MOST_TASKS tasks; none of a task without cached features, without labels or with more than
    MOST_CLASSES classes. Which images are drawn depends on the seed, the task and their ids alone. umap: by that too.
    """
    out: list[FeatureMap] = []
    of: dict[str, dict[str, Storage]] = {}
    for (name, task), folder in features.items():
        of.setdefault(task, {})[name] = folder
    for task, own in of.items():
        found = _map(task, own, tasks[task], seed, umap) if task in tasks else None
        if found is not None and len(out) < MOST_TASKS:
            out.append(found)
    return out


def _map(
    task: str, features: Mapping[str, Storage], index: Storage, seed: int, umap: bool
) -> FeatureMap | None:  # fmt: skip
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
    of_class = np.array([labels[i] for i in drawn.tolist()])
    panels: dict[str, dict[str, np.ndarray]] = {}
    by_umap: dict[str, dict[str, np.ndarray]] = {}
    said = []

    def grouped(points: np.ndarray) -> dict[str, np.ndarray]:
        return {label: points[of_class == k] for k, label in enumerate(classes) if (of_class == k).any()}

    for name, folder in list(features.items())[:MOST_CHECKPOINTS]:
        own = _features(folder, drawn.tolist())
        found = None if own is None else _components(own)
        if own is None or found is None:
            continue
        points, shares = found
        title = f"{figures.short(name)}: {100 * shares[0]:.0f} %, {100 * shares[1]:.0f} %"
        panels[title] = grouped(points)
        if umap:
            by_umap[figures.short(name)] = grouped(umap_points(own))
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
    umapped = None
    umap_note = f"UMAP of the same features is drawn here too once umap-learn is installed: {HOW_TO_GET}."
    if by_umap:
        umap_alt = f"UMAP of features on {task}, by class: {', '.join(by_umap)}"
        umapped = UmapFigure(figures.clouds(by_umap, look), file_name(f"umap-{task}"), umap_alt)
        umap_note = (
            "The same images by UMAP (15 neighbours, smallest distance 0.1, a fixed seed): who is near whom, and not "
            "how far groups are apart or how wide they are."
        )
    return FeatureMap(task, caption, figures.clouds(panels, look), file_name(f"features-{task}"), alt, look, note,
                      umapped, umap_note)  # fmt: skip


def _features(folder: Storage, wanted: list[str]) -> np.ndarray | None:
    """Float64 (n, d) of the samples that are wanted; None unless all are there, enough for a map."""
    try:
        samples, features = open_features(folder)
    except (OSError, ValueError, WorkError, pa.ArrowException):
        return None
    row = {sample: i for i, sample in enumerate(samples.to_pylist())}
    if any(sample not in row for sample in wanted) or len(wanted) < 3 or features.shape[1] < 2:
        return None
    return np.asarray(features[[row[sample] for sample in wanted]], np.float64)


def _components(features: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(n, 2) in units of the first component's largest distance from 0, rounded, and the (2,) shares of variance."""
    from sklearn.decomposition import PCA

    found = PCA(2, svd_solver="full")
    points = found.fit_transform(features)
    most = np.abs(points[:, 0]).max()
    if not most:
        return None
    return np.round(points / most, 3), found.explained_variance_ratio_
