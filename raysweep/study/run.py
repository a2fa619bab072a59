"""Run a study: make what it needs and does not have yet, stage by stage, and report."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from raysweep.errors import RequestError
from raysweep.lease import Claims, sharing, who
from raysweep.pretrain.trackers import check_trackers
from raysweep.progress import Progress
from raysweep.secrets import redacted
from raysweep.storage import Storage
from raysweep.study.failures import failures
from raysweep.study.graph import Graph, build_graph, study_folder
from raysweep.study.load import StudyFile
from raysweep.study.model import Study
from raysweep.study.own_sets import make_own_sets
from raysweep.study.stages import Stages
from raysweep.surroundings import working_folder

STAGES = ("tile", "pretrain", "tune", "report")
_FILE = "study.json"
_MAY_DIFFER = ("storage", "data", "compute", "about", "question")  # between runs that share a study's work


@dataclass
class Outcome:
    """What a run left behind: the report, everything that failed on the way, one line each, the names of the repeats
    that a limit of `compute` left for the next run, and who of several that run the study is still at work.
    """

    home: Storage
    report: Storage | None = None
    failures: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What a reader is told of failures and of what is left, as far as it fits a screen."""
        said = [f"failed: {line}" for line in self.failures[:20]]
        if len(self.failures) > 20:
            said.append(f"... and {len(self.failures) - 20} more: `raysweep status` lists them")
        if self.left:
            some = ", ".join(self.left[:3]) + (" ..." if len(self.left) > 3 else "")
            count = f"{len(self.left)} repeat{'s' * (len(self.left) != 1)}"
            said.append(f"left for the next run, as compute.stop_after_... says: {count} ({some})")
        if self.others:
            said.append(f"nothing else is left here; still at work on the rest: {', '.join(self.others)}; the last one "
                        "writes the report")  # fmt: skip
        return said


def run_study(
    file: StudyFile,
    *,
    stages: Sequence[str] = STAGES,
    only: str | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Make everything a study needs and does not have yet; run again to resume or to retry what failed.

    Several runs of a study at the same time share its work: each checkpoint, set of features and repeat is made by one
    of them. A run that finds nothing more to do ends while the others are at work; the last one writes the report.

    Args:
        file: the study, as read by `load_study`.
        stages: some of `tile`, `pretrain`, `tune` and `report`, in that order.
        only: narrows a stage to the patch set, checkpoint or task of this name.
        progress: where to show it; default: standard error.

    Raises RequestError, before anything starts, when the study cannot be run; WorkError when a stage that the
    rest depends on could not be done.
    """
    progress = progress or Progress()
    started_in = working_folder()
    home = study_folder(file.study)
    home.check_writable()
    with ExitStack() as stack:
        if "tile" in stages:
            make_own_sets(file, home, progress, stack)
        graph = build_graph(file)
        if "pretrain" in stages and any(plan.spec.method for plan in graph.checkpoints.values()):
            check_trackers(file.study.compute.trackers)
        if only is not None:
            _check_only(graph, only)
        about = "waiting up to a minute to see whether {} of an earlier run still lives"
        claims = stack.enter_context(sharing(home, lambda other: progress.say(about.format(other))))
        work = Stages(graph, only, progress, stack, claims, some_stages=tuple(stages) != STAGES)
        with claims.turn(home.at("tasks"), lambda other: progress.say(f"waiting for {other}")):
            _write_down(file.study, home, claims)
            work.begin()
        for stage in stages:
            _stand_somewhere(started_in)
            getattr(work, stage)()
            work.give_back()
        return Outcome(home, work.report_folder, failures(work.graph), work.left, work.others())


def _stand_somewhere(started_in: str) -> None:
    """Leave a working folder that has gone: libraries ask for its name, and torch's MKL ends a process that loads it
    there.

    People tidy up during a long run, and Ray replaces a job's folder where two nodes have the same RAY_TMPDIR.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        os.chdir(started_in if os.path.isdir(started_in) else tempfile.gettempdir())


def _write_down(study: Study, home: Storage, claims: Claims) -> None:
    """Keep the study as it is run. Raises RequestError where others run it with other keys: nothing would be shared."""
    now = redacted(study.model_dump(mode="json"))
    fellows = claims.fellows()
    if fellows and home.exists(_FILE):
        before = home.read_json(_FILE)
        other = next((k for k in now if k not in _MAY_DIFFER and now[k] != before.get(k)), None)
        if other:
            raise RequestError(
                f"{home.root}: {who(fellows[0])} runs this study with another {other}; wait for it, or give the study "
                "another name"
            )
    home.write_json(now, _FILE)


def _check_only(graph: Graph, only: str) -> None:
    known = [*graph.patch_sets, *graph.checkpoints, *graph.tasks]
    if only not in known:
        raise RequestError(
            f"--only {only}: no patch set, checkpoint or task of this study has that name ({', '.join(known)})"
        )
