"""Make the report of a study: results.parquet, tables, figures and one page that stands on its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from raysweep.report.beyond import look_beyond
from raysweep.report.blocks import difference_blocks, value_blocks
from raysweep.report.cells import CellRef
from raysweep.report.checkpoints import checkpoint_table
from raysweep.report.choices import read_choices
from raysweep.report.columns import columns_table
from raysweep.report.compare import compare_cells
from raysweep.report.costs import read_costs
from raysweep.report.family_views import best_table, crossovers_table, pairs_table
from raysweep.report.page import MOST_BYTES, Parts, render
from raysweep.report.paths import paths_table
from raysweep.report.registration import changes, standing
from raysweep.report.rows import read_rows
from raysweep.report.sections import read_sections
from raysweep.report.seen import legend
from raysweep.report.slides import read_slides
from raysweep.report.spec import CompareSpec
from raysweep.report.style import marks
from raysweep.report.told import Told, save_told
from raysweep.report.umap_points import umap_installed
from raysweep.report.views import (
    differences_table,
    main_table,
    matrix_table,
    missing_table,
    per_class_table,
    results_table,
)
from raysweep.report.words import answer
from raysweep.storage import Storage
from raysweep.transfer.schema import RESULT_SCHEMA


def write_report(
    folder: Storage,
    *,
    study: str,
    question: str | None = None,
    compare: CompareSpec,
    patch_sets: Mapping[str, Storage],
    checkpoints: Mapping[str, Sequence[Storage]],
    cells: Sequence[CellRef],
    choices: Sequence[Storage] = (),
    tasks: Mapping[str, Storage] | None = None,
    features: Mapping[tuple[str, str], Storage] | None = None,
    registration: Mapping[str, str] | None = None,
    umap: bool | None = None,
    into: Storage | None = None,
    rows_of: Callable[[Sequence[CellRef], str | None], tuple[dict[str, pa.Table], list[CellRef]]] = read_rows,
) -> Storage:
    """Write `results.parquet`, `choices.parquet` and `report/` into the study's folder, from artefact files alone.

    Returns `report/`, in which `told.json` keeps these arguments for `raysweep verify`.

    question: the page's title. patch_sets, checkpoints: artefact folders by name, in the study's order; checkpoints
    one per pretraining. cells: all planned cells, finished or not. choices: folders of those that are made. tasks:
    folders of the tasks' indexes, by name; without them there are neither pictures nor facts of their data. features:
    folders of cached features by checkpoint and task. The study's `compare.json` says what was to be compared, and what
    was registered; registration: keys that are compared with that. umap: whether features are drawn by UMAP too; not
    given: where umap-learn is installed. into: where all is written, if not there. rows_of:
    who reads the result rows. Equal inputs give equal bytes; `index.html` is written last.
    """
    told = Told(study, question, compare, patch_sets, checkpoints, cells, choices, tasks or {}, features or {},
                registration or {}, umap=bool(features) and (umap_installed() if umap is None else umap))  # fmt: skip
    into = into or folder
    names = list(dict.fromkeys([*checkpoints, *(c.checkpoint for c in cells)]))
    rows, cells = rows_of(_ordered(cells, names), compare.primary.metric)
    results = pa.concat_tables([table for _, table in sorted(rows.items())] or [RESULT_SCHEMA.empty_table()])
    results = _with_points(_with_seen(results, cells), cells)
    keys = ("task", "protocol", "fraction", "checkpoint", "test_set", "metric", "repeat")
    into.write_table(results.sort_by([(k, "ascending") for k in keys]), "results.parquet")

    chosen = read_choices(choices)
    if chosen.rows.num_rows:
        into.write_table(chosen.rows, "choices.parquet")
    else:
        into.remove("choices.parquet")  # of an earlier study file
    baseline = compare.baseline or (names[0] if names else "")
    compare = compare.model_copy(update={"baseline": baseline})
    changed = changes(folder, compare)
    tested = _tested(cells)
    findings = compare_cells(tested, rows, compare, baseline=baseline)
    estimates = [findings.estimates[c.key] for c in tested if c.key in findings.estimates]
    matrix = matrix_table(tested, findings)
    look = marks(names)
    sources, leaks = checkpoint_table(checkpoints, cells, patch_sets)
    slides, costs = read_slides(patch_sets), read_costs(cells, rows)
    paths = paths_table([c for c in cells if c.path in rows])
    beyond = look_beyond(findings, tested, look, compare)
    sections = read_sections(folder, cells=cells, rows=rows, results=results, findings=findings, compare=compare,
                             changed=bool(changed), marks=look, tasks=tasks or {}, checkpoints=checkpoints,
                             patch_sets=patch_sets, features=features or {}, umap=told.umap,
                             rule_words=beyond.rule_words)  # fmt: skip
    primary = [c for found in findings.tasks for c in [*found.comparisons, *found.means]]
    parts = Parts(
        study=study,
        question=question or f"{study}: which pretraining is worth it?",
        compare=compare,
        changed=changed,
        standing=standing(folder, compare, registration or {}),
        once="once" in results["search"].to_pylist(),
        baseline=baseline,
        answer=answer(findings, compare=compare, checkpoints=names,
                      finished=sum(c.key in findings.estimates for c in cells), planned=len(cells),
                      exploratory=bool(changed)),
        values=value_blocks(tested, findings, look, margin=compare.margin, late=sections.late),
        matrix=matrix,
        differences=difference_blocks(primary, look, baseline=baseline, margin=compare.margin),
        secondary=differences_table([c for c in findings.comparisons if not c.primary], baseline, alpha=compare.alpha,
                                    exploratory=bool(changed)),
        estimates=estimates,
        marks=look,
        missing=missing_table(cells),
        choices=chosen,
        costs=costs,
        paths=paths,
        slides=slides,
        checkpoints=sources,
        leaks=leaks,
        legend=legend(cell.mark for cell in tested),
        versions=sorted(set(results["versions"].to_pylist())),
        beyond=beyond,
        sections=sections,
    )  # fmt: skip
    report = into.at("report")
    tables = [
        main_table(tested, findings), results_table(estimates),
        differences_table([*findings.comparisons, *(m for found in findings.tasks for m in found.means)], baseline,
                          alpha=compare.alpha, exploratory=bool(changed)),
        best_table(findings.tasks), crossovers_table(findings.tasks, findings.estimates),
        *beyond.tables,
        pairs_table(findings.tasks), per_class_table(estimates, rows),
        costs.table, paths, slides.table, sources, parts.missing, *([matrix] if matrix.rows else []),
        *([chosen.table] if chosen.table.rows else []), *sections.tables,
    ]  # fmt: skip
    tables.append(columns_table(tables))
    files = {f"{t.name}.{end}": text for t in tables
             for end, text in (("csv", t.csv()), ("md", t.markdown()), ("tex", t.latex()))}  # fmt: skip
    drawn = {f"{b.figure_name}.svg": b.figure for b in parts.values if b.figure}
    drawn |= {f"{b.figure_name}.svg": b.figure for b in parts.differences if b.figure}
    drawn |= {"ranks.svg": beyond.rank_figure} if beyond.rank_figure else {}
    drawn |= sections.figures
    _replace(report.at("tables"), files)
    _replace(report.at("figures"), drawn)
    save_told(told, into)
    page = render(parts).encode()
    if len(page) > MOST_BYTES:
        page = render(replace(parts, sections=sections.without_pictures())).encode()
    report.write_bytes(page, "index.html")
    return report


def _with_seen(results: pa.Table, cells: Sequence[CellRef]) -> pa.Table:
    """The rows with a column `seen`: what the weights have seen of each test set, in a word; empty: nobody asked."""
    words = {(cell.checkpoint, cell.task, seen.test_set): seen.word for cell in cells for seen in cell.seen}
    keys = zip(*(results[key].to_pylist() for key in ("checkpoint", "task", "test_set")), strict=True)
    return results.append_column("seen", pa.array([words.get(key, "") for key in keys], pa.string()))


def _with_points(results: pa.Table, cells: Sequence[CellRef]) -> pa.Table:
    """The rows with a column `point`: of a grid of which one is chosen, the checkpoint that it was; else empty."""
    points = {(cell.checkpoint, cell.task, cell.protocol, cell.fraction, repeat.number): repeat.point
              for cell in cells for repeat in cell.repeats}  # fmt: skip
    columns = (results[key].to_pylist() for key in ("checkpoint", "task", "protocol", "fraction", "repeat"))
    return results.append_column("point", pa.array([points[key] for key in zip(*columns, strict=True)], pa.string()))


def _tested(cells: Sequence[CellRef]) -> list[CellRef]:
    """The cells on their tasks' own test sets, then on each further one."""
    others = [other for cell in cells for other in cell.on_further()]
    columns = list(dict.fromkeys((other.task, other.tested_on) for other in others))
    tasks = list(dict.fromkeys(task for task, _ in columns))
    return [*cells, *sorted(others, key=lambda o: (tasks.index(o.task), columns.index((o.task, o.tested_on))))]


def _ordered(cells: Sequence[CellRef], names: Sequence[str]) -> list[CellRef]:
    """By task and protocol as they first appear, fraction, then checkpoint in the study's order."""
    tasks = list(dict.fromkeys(c.task for c in cells))
    protocols = list(dict.fromkeys(c.protocol for c in cells))
    place = {name: i for i, name in enumerate(names)}
    return sorted(
        cells, key=lambda c: (tasks.index(c.task), protocols.index(c.protocol), c.fraction, place[c.checkpoint])
    )


def _replace(folder: Storage, files: Mapping[str, str]) -> None:
    """Write text files and remove what an earlier report left beside them."""
    for name, text in files.items():
        folder.write_bytes(text.encode(), name)
    for name in folder.names():
        if name not in files:
            folder.remove(name)
