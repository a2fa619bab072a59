"""What of a study decides its results, as hashes: for `plan --register`, and for the report that says if it holds."""

from typing import Any

from raysweep.report.registration import register
from raysweep.storage import fingerprint
from raysweep.study.graph import Graph
from raysweep.tasks.splits import folds

_SHORT = 12  # hex digits of a key's hash


def registered_keys(graph: Graph) -> dict[str, str]:
    """A hash for each key that was given and that results depend on, for each task's samples and splits.

    Not in it: where things lie (storage, data, paths), names and licences, how much of a machine is used, and what was
    left at its default. A patch set is its slides' files and all its keys.
    """
    study = graph.study
    given = study.model_dump(mode="json", exclude_defaults=True, include={"seed", "allow_leakage", "transfer"})
    given["seed"] = study.seed
    given["checkpoints"] = {
        name: _placeless(spec.model_dump(mode="json", exclude_defaults=True, exclude={"probe", "licence"}))
        for name, spec in study.checkpoints.items()
    }
    keys = {key: fingerprint(value) for key, value in _flat(given).items()}
    keys |= {f"patches.{name}": plan.artefact.fingerprint for name, plan in graph.patch_sets.items()}
    for name, plan in graph.tasks.items():
        task = plan.task
        divisions = [[_ids(task, fold.train), _ids(task, fold.val or []), _ids(task, fold.test)]
                     for fold in folds(task, study.seed)]  # fmt: skip
        keys[f"tasks.{name}"] = fingerprint([plan.artefact.fingerprint, task.card.metrics])
        keys[f"splits.{name}"] = fingerprint(divisions)
        keys |= {f"test_sets.{name}.{other.name}": other.artefact.fingerprint for other in plan.further}
    return {key: value[:_SHORT] for key, value in keys.items()}


def register_study(graph: Graph) -> str:
    """Put a study on record before anything is searched; a line for people. Raises RequestError once that has begun."""
    graph.home.check_writable()
    digest = register(graph.home, graph.compare, registered_keys(graph))
    return f"registered as {digest}: study, splits and comparison, in {graph.home.path('compare.json')}"


def _ids(task: Any, samples: list[int]) -> list[str]:
    return sorted(task.samples[i].id for i in samples)


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": inner}
    return found


def _placeless(value: Any) -> Any:
    """Files and folders by their own names: moving them changes nothing."""
    if isinstance(value, dict):
        return {_placeless(key): _placeless(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_placeless(inner) for inner in value]
    is_path = isinstance(value, str) and (value.startswith(("/", "~", ".")) or "://" in value)
    return value.rsplit("/", 1)[-1] if is_path else value
