"""What `raysweep studies` lists: the studies that ship, by what their files say."""

from math import prod

from raysweep.storage import shipped
from raysweep.study.load import load_study
from raysweep.study.model import Study


def study_rows() -> tuple[list[str], list[list[str]]]:
    """A header and a row for each study that ships: name, question, data, size, cost.

    Nothing is looked for on disk: the size is what the file asks for, and a number of pretrainings is that of one
    member, as what is left out of a pool depends on the tasks.
    """
    rows = []
    for path in sorted(shipped("studies").glob("*.yaml"), key=lambda path: path.stem):
        study = load_study(path, ["data=."]).study
        needs, cost = (study.about.needs, study.about.cost) if study.about else ("", "")
        asks = study.question or ("" if study.tasks else "(makes patch sets)")
        rows.append([study.name, asks, needs, _size(study), cost])
    return ["name", "question", "needs", "size", "cost"], rows


def _size(study: Study) -> str:
    points = {name: prod(len(values) for values in spec.grid.values()) for name, spec in study.checkpoints.items()}
    trained = sum(points[name] * spec.seeds for name, spec in study.checkpoints.items() if spec.method)
    families = any(spec.leave_out or spec.join for spec in study.checkpoints.values())
    transfer = study.transfer
    words = [_count(len(study.patches), "patch set")] if study.patches else []
    words.append(_count(sum(points.values()), "checkpoint"))
    if trained:
        words.append(_count(trained, "pretraining") + " for each set that is left out" * families)
    if not study.tasks:
        return ", ".join([*words, "tasks of your own"])
    words += [_count(len(study.tasks), "task"), _count(len(transfer.fractions), "number") + " of labels"]
    return ", ".join([*words, _count(transfer.repeats, "repeat")])


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"
