"""The page's sections beyond values and differences: heat maps, pictures, searches, data, how to do it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from raysweep.report.cells import CellRef
from raysweep.report.data_facts import DataFacts, read_data
from raysweep.report.feature_maps import FeatureMap, UmapFigure, read_feature_maps
from raysweep.report.fewer_trials import fewer_trials, leads
from raysweep.report.findings import Findings
from raysweep.report.heat import HeatMap, task_map
from raysweep.report.mistakes import Mistakes, read_mistakes
from raysweep.report.pair_heat import pair_maps
from raysweep.report.pictures import Gallery, read_galleries
from raysweep.report.recipe import Recipe, read_recipe
from raysweep.report.regret import Searched, search_curves, tell_searches
from raysweep.report.spec import CompareSpec
from raysweep.report.style import Mark
from raysweep.report.subgroups import SubgroupBlock, subgroup_values
from raysweep.report.tables import Table
from raysweep.report.training import Trained, read_trainings
from raysweep.storage import Storage


@dataclass(frozen=True)
class Sections:
    """What the page shows of each, and `tables`, which are written beside it. pairs_left: maps of pairs that are not on
    the page; galleries_note: which galleries are not; late: of `tell_searches`; shorter: sentences on who would have
    led with fewer trials."""

    heat: HeatMap | None
    pairs: Sequence[HeatMap]
    pairs_left: int
    galleries: Sequence[Gallery]
    galleries_note: str
    mistakes: Sequence[Mistakes]
    searches: Sequence[Searched]
    late: Mapping[str, str]
    shorter: Sequence[str]
    subgroups: Sequence[SubgroupBlock]
    trainings: Sequence[Trained]
    maps: Sequence[FeatureMap]
    data: DataFacts
    recipe: Recipe
    tables: Sequence[Table]

    @property
    def figures(self) -> dict[str, str]:
        """SVG files by name."""
        drawn: list[Searched | Trained | FeatureMap | UmapFigure] = [*self.searches, *self.trainings, *self.maps]
        drawn += [m.umap for m in self.maps if m.umap]
        return {f"{s.figure_name}.svg": s.figure for s in drawn if s.figure}

    def without_pictures(self) -> "Sections":
        """The same for a page that would be too large."""
        mistakes = [replace(m, pictures=[], pictures_caption="") for m in self.mistakes]
        note = "Pictures are left out: the page would be too large." if self.galleries or self.mistakes else ""
        return replace(self, galleries=[], mistakes=mistakes, galleries_note=note)


def read_sections(
    folder: Storage,
    *,
    cells: Sequence[CellRef],
    rows: Mapping[str, pa.Table],
    results: pa.Table,
    findings: Findings,
    compare: CompareSpec,
    changed: bool,
    marks: Mapping[str, Mark],
    tasks: Mapping[str, Storage],
    checkpoints: Mapping[str, Sequence[Storage]],
    patch_sets: Mapping[str, Storage],
    features: Mapping[tuple[str, str], Storage],
    umap: bool = False,
    rule_words: str = "",
) -> Sections:
    """folder: the study's. cells: on their tasks' own test sets. rows: what `read_rows` gave, results: all of it in one
    table. tasks: folders of their indexes. features: by checkpoint and task. rule_words: how a rule
    judged that is not the default. umap: whether features are drawn by UMAP too."""
    seed = int(folder.read_json("study.json")["seed"]) if folder.exists("study.json") else 0
    protocol = compare.primary.protocol
    finished = [cell for cell in cells if cell.path in rows]
    galleries, galleries_note = read_galleries(finished, tasks, seed, protocol=protocol)
    mistakes, wrong = read_mistakes(finished, rows, tasks, seed, protocol=protocol)
    curves = search_curves(finished)
    searches, late, regret = tell_searches(finished, curves, findings.estimates, marks)
    shorter, by_trials = fewer_trials(leads(findings.tasks, finished, curves, findings.baseline), findings.baseline)
    subgroups, by_subgroup = subgroup_values(finished, rows, tasks, compare)
    pairs, pairs_left = pair_maps(findings)
    data = read_data(tasks, checkpoints, patch_sets, seed)
    artefacts = {
        "patch set": {name: [place] for name, place in patch_sets.items()},
        "task": {name: [place] for name, place in tasks.items()},
        "checkpoint": checkpoints,
    }
    recipe = read_recipe(folder, artefacts=artefacts, results=results, findings=findings, compare=compare,
                         changed=changed, rule_words=rule_words)  # fmt: skip
    tables = [
        by_subgroup,
        *wrong,
        regret,
        by_trials,
        data.licences,
        data.excluded,
        data.splits,
        data.patches,
        recipe.fingerprints,
    ]
    return Sections(
        heat=task_map(findings, compare, list(marks)),
        pairs=pairs,
        pairs_left=pairs_left,
        galleries=galleries,
        galleries_note=galleries_note,
        mistakes=mistakes,
        searches=searches,
        late=late,
        shorter=shorter,
        subgroups=subgroups,
        trainings=read_trainings(finished, marks, baseline=findings.baseline),
        maps=read_feature_maps(features, tasks, seed, umap=umap),
        data=data,
        recipe=recipe,
        tables=[table for table in tables if table.rows],
    )
