"""Give weights away: a checkpoint as timm loads it, or the trained model of a cell."""

from pathlib import Path
from typing import Any

from raysweep.backbones.checkpoint import export_checkpoint, forbidding
from raysweep.errors import RequestError
from raysweep.local_path import local_path
from raysweep.storage import Storage
from raysweep.study.kept_models import Kept, find_model, find_repeat, results_of
from raysweep.transfer.model_info import EXPORTED, ModelInfo, read_model_info, write_model

_WEIGHTS = "backbone.safetensors"


def export(path: str, out: Path, *, fold: int | None = None) -> Path:
    """Write `model.safetensors` and `config.json` to a folder, of a cell also `README.md`; return the first.

    `path` is a finished checkpoint's folder, or the folder above it when a `current` file names one; or that of a
    repeat or cell with a trained model, of which `fold` chooses one.
    Raises RequestError when there is neither, or a licence forbids to pass the weights on.
    """
    out = local_path(out, "--out")
    folder = Storage.open(path)
    if not folder.exists(_WEIGHTS) and folder.exists("current"):
        names = folder.read_bytes("current").decode().split()
        folder = next((folder.at(name) for name in names if folder.exists(name, _WEIGHTS)), folder)
    if folder.exists(_WEIGHTS):
        if fold is not None:
            raise RequestError(f"--fold {fold}: {path} is a checkpoint, which has no folds; leave it out")
        return export_checkpoint(folder, out)
    if folder.exists(EXPORTED):
        raise RequestError(f"{path}: is exported already; copy the folder")
    if find_repeat(path) is None:
        raise RequestError(
            f"{path}: no checkpoint here, and no cell whose first repeat is finished; give a folder below checkpoints/ "
            "or cells/ of a study's storage"
        )
    return _export_model(find_model(path, fold), path, out)


def _export_model(kept: Kept, path: str, out: Path) -> Path:
    info = read_model_info(kept.folder, *kept.parts)
    if card := forbidding(info.checkpoint):
        raise RequestError(
            f"{path}: the licence of {card} forbids to pass on its weights and what was made from them; use the model "
            f"where it is, by raysweep predict {path}"
        )
    from raysweep.transfer.model_file import whole

    arrays, info = whole(kept.folder, *kept.parts)
    target = Storage.open(out)
    write_model(target, arrays, info, EXPORTED)
    target.write_json(_config(info), "config.json")
    target.write_bytes(_readme(info, results_of(kept.folder)).encode(), "README.md")
    return Path(target.path(EXPORTED))


def _config(info: ModelInfo) -> dict[str, Any]:
    """What an input must be like, and what comes out; the rest is under `raysweep`."""
    start = info.checkpoint
    return {
        "kind": info.kind,
        "classes": info.classes,
        "input_size": [3, info.px, info.px],
        "mpp": info.mpp,
        "mean": start.mean,
        "std": start.std,
        "interpolation": "bicubic",
        "raysweep": info.model_dump(mode="json", exclude_none=True),
    }


def _readme(info: ModelInfo, rows: list[dict[str, Any]]) -> str:
    """The model card: what it tells apart, what it was made from, how well it did, on what terms."""
    start, first = info.checkpoint, rows[0]
    scale = f"{info.mpp:g} um per pixel ({info.px * info.mpp:g} um)" if info.mpp else "a scale that is not known"
    head = f"decoder {info.decoder}" if info.decoder else f"protocol {info.protocol}"
    chain = " -> ".join(_step(step) for step in start.lineage())
    terms = start.licence or ("none, a random start" if start.lineage()[0]["init"] == "random" else "not recorded")
    folds = (f" The model is that of fold {info.fold} of {first['n_folds']}; the scores are those of all of them, each "
             "on the images that it had not seen.") if first["n_folds"] > 1 else ""  # fmt: skip
    scores = "\n".join(
        f"| {row['test_set']} | {row['metric']} | {_number(row['value'])} | {row['n_test_images']} | "
        f"{row['n_test_units']} |"
        for row in rows
    )
    per_class = ", ".join(
        f"{name} {_number(value)}" for name, value in zip(first["classes"], first["per_class"] or [], strict=False)
    )
    return f"""# {info.task}: {info.kind} by {start.backbone}

Classes: {", ".join(info.classes)}.

Input: {info.px} x {info.px} pixels of {scale}, RGB, normalised by mean {list(start.mean)} and std {list(start.std)}.

## Made from

- Weights: {start.backbone} ({chain}), {head}; setting {info.params}.
- Trained on {first["n_images"]} labelled images of {first["n_units"]} units of {info.task} (a fraction of \
{first["fraction"]:g} of its training images), val included, in study {first["study"]} as {first["checkpoint"]}.
- Seen before by the weights: {", ".join(start.sources) or "nothing that is recorded"}.

## Scores

On test images that neither the search nor the training had seen, by one final of one repeat: see the study's report for
what repeats say.{folds}

| test set | metric | value | images | units |
|---|---|---|---|---|
{scores}

{first["metric"]} by class: {per_class or "not known"}.

## Licence

Weights it started from: {terms}. Images it was trained on: {info.data_licence}. Both terms
hold for what is made from them. Not a medical device.

## Use

```bash
raysweep predict . PATCHES --out predictions.parquet --geojson predictions.geojson
```
"""


def _step(step: dict[str, Any]) -> str:
    method = f" by {step['method']}" if step.get("method") else ""
    return f"{step.get('init', 'unknown')}{method}"


def _number(value: float | None) -> str:
    return "failed" if value is None else f"{value:.4f}"
