"""What it takes to make a study's results again, and a paragraph on methods for a manuscript."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from raysweep.report.cells import percent
from raysweep.report.findings import Findings
from raysweep.report.rules import rules
from raysweep.report.spec import CompareSpec
from raysweep.report.tables import Table, metric_words
from raysweep.secrets import redacted
from raysweep.storage import MANIFEST, Storage

_STUDY = "study.json"
_COMMIT = "raysweep commit"  # in the versions of what was made from a checkout
_FINGERPRINTS = ("kind", "name", "folder", "fingerprint")


@dataclass(frozen=True)
class Recipe:
    """The resolved study as YAML (empty where it is not on record), how to run it, facts in pairs, fingerprints of what
    finals were made from, and the paragraph."""

    study: str
    command: str
    facts: list[tuple[str, str]]
    fingerprints: Table
    paragraph: str


def read_recipe(
    folder: Storage,
    *,
    artefacts: Mapping[str, Mapping[str, Sequence[Storage]]],
    results: pa.Table,
    findings: Findings,
    compare: CompareSpec,
    changed: bool,
    rule_words: str = "",
) -> Recipe:
    """folder: the study's, where `study.json` is. artefacts: folders by kind, then name. results: rows of
    RESULT_SCHEMA. changed: whether the comparison was changed after results were there. rule_words: how a rule judged
    that is not the default."""
    study = folder.read_json(_STUDY) if folder.exists(_STUDY) else {}
    shown = yaml.safe_dump(_without_folders(redacted(study)), sort_keys=False, allow_unicode=True) if study else ""
    seeds = sorted({str(s) for s in results["pretraining_seed"].to_pylist() if s is not None}, key=int)
    repeats = len(set(results["repeat"].to_pylist()))
    made_with = _made_with(results)
    commits = list(dict.fromkeys(v[_COMMIT] for v in made_with if _COMMIT in v))
    facts = [
        ("study's seed", str(study.get("seed", ""))),
        ("pretraining seeds", ", ".join(seeds)),
        ("repeats", f"{repeats}, numbered from 0" if repeats else ""),
        ("raysweep", ", ".join(dict.fromkeys(v["raysweep"] for v in made_with if "raysweep" in v))),
        ("commit", ", ".join(commits)),
        ("finals", f"{len(set(results['folder'].to_pylist())):,}"),
    ]
    rows = [[kind, name, place.root.rsplit("/", 1)[-1], _fingerprint(place)]
            for kind, named in artefacts.items() for name, places in named.items() for place in places]  # fmt: skip
    return Recipe(
        shown,
        "raysweep run study.yaml" if shown else "",
        [(key, value) for key, value in facts if value],
        Table("fingerprints", _FINGERPRINTS, rows),
        _paragraph(study, results, findings, compare, changed, rule_words) if findings.estimates else "",
    )


def _made_with(results: pa.Table) -> list[dict[str, str]]:
    """The different sets of versions that rows were made with."""
    return [json.loads(text) for text in sorted(set(results["versions"].to_pylist())) if text]


def _fingerprint(place: Storage) -> str:
    try:
        return str(place.read_json(MANIFEST)["fingerprint"])
    except (OSError, ValueError, KeyError):
        return "not finished"


def _without_folders(value: Any) -> Any:
    """Absolute paths and addresses as `…/name`: where somebody's files were helps nobody else."""
    if isinstance(value, dict):
        return {k: _without_folders(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_folders(v) for v in value]
    if isinstance(value, str) and re.match(r"(/|~|[A-Za-z]:\\|[a-z0-9+.-]+://)", value):
        return "…/" + re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return value


def _paragraph(
    study: Mapping[str, Any],
    results: pa.Table,
    findings: Findings,
    compare: CompareSpec,
    changed: bool,
    rule_words: str,
) -> str:
    """From what was run, in the past tense, with the sources that reviewers ask for."""
    own = list(findings.estimates.values())
    names = list(dict.fromkeys(e.cell.checkpoint for e in own))
    tasks = list(dict.fromkeys(e.cell.task for e in own))
    protocols = list(dict.fromkeys(e.cell.protocol for e in own))
    fractions = sorted({e.cell.fraction for e in own})
    units = list(dict.fromkeys(e.unit for e in own))
    repeats = sorted({len(e.cell.repeats) for e in own})
    searched = set(results["search"].to_pylist())
    made_with = _made_with(results)
    version = made_with[0].get("raysweep", "") if made_with else ""
    version += f" (commit {found})" if version and (found := made_with[0].get(_COMMIT, "")) else ""
    transfer = study.get("transfer", {})
    out = [
        f"We compared {_count(len(names), 'checkpoint')} ({_series(names)}) on {_count(len(tasks), 'task')} "
        f"({_series(tasks)}) with raysweep{f' {version}' if version else ''}.",
        f"Checkpoints were transferred by {_series(protocols)}, with {_series([percent(f) for f in fractions])} of the "
        f"training labels; every combination of checkpoint, task, protocol and label fraction was repeated "
        f"{repeats[0] if len(repeats) == 1 else f'{repeats[0]} to {repeats[-1]}'} times.",
    ]
    if "each" in searched or "once" in searched:
        trials = f" ({transfer['trials']} trials, sampler {transfer['sampler']})" if "trials" in transfer else ""
        whose = (
            "its own search for hyper-parameters" if "once" not in searched else "the hyper-parameters of one search"
        )
        out.append(
            f"Each repeat had its own draw of labels, {whose}{trials} under the same budget for every checkpoint, and "
            "a final model: the setting that was best on validation data from within the draw, trained once more with "
            "a fresh seed and tested once."
        )
    if "none" in searched:
        out.append("Frozen protocols chose their setting by cross-validation inside each draw, units kept together.")
    metrics = list(dict.fromkeys(metric_words(e.metric) for e in own if e.cell.protocol == compare.primary.protocol))
    if not metrics:  # nothing to compare yet
        return " ".join(out)
    when = "changed after results were known" if changed else "fixed before the first search"
    out.append(
        f"The primary comparison, {when}, was the difference in {_series(metrics)} to {findings.baseline} under "
        f"{compare.primary.protocol}, paired by repeat."
    )
    if rule_words:
        out.append(f"Differences between the {_series(units)}s tested were judged by {rules()[compare.rule].said}.")
        out += [rule_words, f"alpha was {compare.alpha:g}."]
        return " ".join(out)
    out.append(
        f"Test units ({_series(units)}s) and repeats were treated as two crossed random factors: variances were "
        "estimated from delete-one-unit jackknife pseudo-values (Efron and Tibshirani, 1993), degrees of freedom after "
        "Satterthwaite (1946)."
    )
    corrected = (
        "p values were corrected by Holm's method (1979), simultaneous intervals by Bonferroni's"
        if compare.correction == "holm"
        else "p values and simultaneous intervals were corrected in a single step by the distribution of the largest "
        "test statistic (Hothorn, Bretz and Westfall, 2008)"
    )
    out.append(f"Over all comparisons of a task {corrected}; alpha was {compare.alpha:g}.")
    if compare.margin:
        out.append(
            f"Differences of less than {compare.margin:g} were fixed as irrelevant; equivalence was tested by two "
            "one-sided tests (Schuirmann, 1987)."
        )
    return " ".join(out)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def _series(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
