"""The `raysweep` command: parse, call one function, print."""

import gc
import logging
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import raysweep
from raysweep.addresses import shown
from raysweep.card_commands import checkpoints, datasets
from raysweep.cluster_commands import app as cluster
from raysweep.cluster_commands import submit
from raysweep.commands import OPTIONS, Commands, StoppedError, new_progress
from raysweep.errors import OF_PATHS, RequestError, WorkError
from raysweep.exit_codes import own_exit_code
from raysweep.json_log import WarningEvents, log_event
from raysweep.model_commands import export, predict
from raysweep.new_commands import datasets_new, new
from raysweep.output import patient_output
from raysweep.report_commands import verify
from raysweep.secrets import without_secrets
from raysweep.stopping import STOPPED, exit_code, stoppable
from raysweep.study_commands import studies
from raysweep.surroundings import settle, speak_utf8
from raysweep.upkeep_commands import Overrides, StudyArgument, clean, doctor

app = typer.Typer(
    cls=Commands,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which pretraining is worth it, for my pathology task, with the labels I have? One study file asks; "
    "tiles, checkpoints, searches and a report answer. Exit codes: 0 all done; 1 could not be done; "
    "2 the request was wrong; 3 done, but some slides or trials failed or are left; 129, 130 and 143 stopped by a "
    "hangup, Ctrl-C or SIGTERM: run the same command again.",
)
datasets.command("new")(datasets_new)
app.add_typer(datasets, name="datasets")
app.add_typer(checkpoints, name="checkpoints")
app.add_typer(cluster, name="cluster")

out = Console(highlight=False, soft_wrap=True)


class LogForm(StrEnum):
    plain = "plain"
    json = "json"


Only = Annotated[str | None, typer.Option(help="only this patch set, checkpoint or task")]

Watch = Annotated[bool, typer.Option("--watch", help="show the search that another process runs, until it has ended")]


def _version(asked: bool) -> None:
    """While options are read: a group of commands ends where none follows."""
    if asked:
        out.print(f"raysweep {raysweep.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an unexpected error")] = False,
    log: Annotated[
        LogForm, typer.Option("--log", help="how progress is told on standard error; json: one object for each event")
    ] = LogForm.plain,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="print the version and end")
    ] = False,
) -> None:
    OPTIONS.update(debug=debug, json=log == LogForm.json)
    settle()
    if OPTIONS["json"]:
        logging.basicConfig(level=logging.WARNING, handlers=[WarningEvents()])
        logging.captureWarnings(True)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", help="where to put slides, artefacts and the report")] = Path("demo"),
) -> None:
    """The whole chain on slides and tasks that it draws itself: minutes on two cores, no GPU, no download."""
    from raysweep.demo.run import run_demo

    _finish(run_demo(folder, progress=new_progress()))
    out.print("yours: raysweep new FOLDER --with imagenet uni2-h my.pth", markup=False)


@app.command()
def run(study: StudyArgument, overrides: Overrides = None) -> None:
    """Everything the study needs and does not have yet. Run it again to resume, or after changing the study."""
    _stages(study, overrides, None)


@app.command()
def plan(
    study: StudyArgument,
    overrides: Overrides = None,
    register: Annotated[
        bool,
        typer.Option("--register", help="put study, splits and comparison on record as a hash, before any search"),
    ] = False,
) -> None:
    """What `run` would do: every stage and cell, what exists already, what the rest will cost, and for each task the
    smallest difference that its test patients can show.
    """
    from raysweep.study.load import load_study
    from raysweep.study.plan import plan_rows

    header, rows, notes = plan_rows(load_study(study, overrides or []), register=register)
    _table("plan", header, rows)
    for note in notes:
        out.print(note)


@app.command()
def tile(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="(STUDY.yaml | SLIDE...) [KEY=VALUE]...",
            help="a study; or slides, folders, globs and slide tables, with keys such as tissue=all stride=0.5",
        ),
    ],
    only: Only = None,
    um: Annotated[float | None, typer.Option(help="slides: edge of a patch in the specimen, um")] = None,
    px: Annotated[int | None, typer.Option(help="slides: edge of a patch, pixels")] = None,
    folder: Annotated[
        str | None, typer.Option("--out", help="slides: where to put the patch set, a path or a storage address")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="slides: how many to use; default: one for each CPU")] = None,
) -> None:
    """The patch sets of a study; or slides straight to a patch set, with --um, --px and --out."""
    options = {"--um": um, "--px": px, "--out": folder, "--workers": workers}
    given = [option for option, value in options.items() if value is not None]
    if sources[0].endswith((".yaml", ".yml")) or (not given and _ships(sources[0])):
        if given:
            raise RequestError(f"tile: {given[0]} is for slides; a study has keys, such as patches.NAME.px=512")
        return _stages(sources[0], sources[1:], ["tile"], only)
    if only is not None:
        raise RequestError("tile: --only is for a study; slides are one patch set")
    from raysweep.study.tile import tile_slides

    header, rows, failed = tile_slides(sources, um=um, px=px, out=folder, workers=workers, progress=new_progress())
    _table(shown(folder or ""), header, rows)
    if all(row[header.index("status")] != "done" for row in rows):
        raise WorkError("no slide could be tiled: there is no patch set")
    if failed:
        raise typer.Exit(3)


@app.command()
def pretrain(study: StudyArgument, overrides: Overrides = None, only: Only = None) -> None:
    """The checkpoints of a study; its patch sets must be there."""
    _stages(study, overrides, ["pretrain"], only)


@app.command()
def tune(study: StudyArgument, overrides: Overrides = None, only: Only = None, watch: Watch = False) -> None:
    """The search and the finals of every cell; the checkpoints must be there."""
    if watch:
        from raysweep.study.watch import watch_study

        return watch_study(study, overrides or [], out)
    _stages(study, overrides, ["tune"], only)


@app.command()
def report(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY.yaml... [KEY=VALUE]...",
            help="a study file or the name of one that ships; of several one report is made, in --out",
        ),
    ],
    folder: Annotated[str | None, typer.Option("--out", help="where to put the report of several studies")] = None,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="also write a copy to give away: no pictures, neutral names of patients, slides and images, and the "
            "predictions that `raysweep verify FOLDER` needs",
        ),
    ] = None,
) -> None:
    """The report of a study, or of several, from what is there; with --share a copy of it without names of patients."""
    from raysweep.report_commands import make_reports

    named = [text for text in studies if "=" not in text]
    overrides = [text for text in studies if "=" in text]
    _finish(make_reports(lambda name: _run(name, overrides, ["report"]), named, folder, share))


@app.command()
def status(study: StudyArgument, overrides: Overrides = None, watch: Watch = False) -> None:
    """Done, running, dead, failed (with the reason) or waiting: every slide, checkpoint and cell."""
    if watch:
        from raysweep.study.watch import watch_study

        return watch_study(study, overrides or [], out)
    from raysweep.study.load import load_study
    from raysweep.study.status import status_rows

    headline, header, rows = status_rows(load_study(study, overrides or []))
    out.print(headline)
    _table("status", header, rows)


app.command()(new)
app.command()(verify)
app.command()(export)
app.command()(predict)
app.command()(studies)
app.command()(submit)
app.command()(clean)
app.command()(doctor)


def main() -> None:
    """Entry point: every refusal is one sentence on standard error. Usage errors are Typer's to show (exit code 2)."""
    speak_utf8()
    patient_output()
    with own_exit_code():
        _main()


def _main() -> None:
    try:
        with stoppable():
            app()
    except RequestError as error:
        sys.exit(_say(error, 2))
    except WorkError as error:
        sys.exit(_say(error, 1))
    except (KeyboardInterrupt, StoppedError):
        sys.exit(_say(STOPPED, exit_code()))
    except Exception as error:
        if OPTIONS["debug"]:
            raise
        if isinstance(error, OSError) and error.filename is not None and error.errno in OF_PATHS:
            where = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
            sys.exit(_say(f"{where}: cannot be used ({error.strerror}); check this path and its permissions", 2))
        if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # pathlib's, up to Python 3.12
            sys.exit(_say(f"{error}; name another path", 2))
        text = " ".join(str(error).split())[:300]
        sys.exit(_say(f"unexpected {type(error).__name__}: {text} (--debug shows more)", 1))
    finally:
        gc.freeze()  # a last search for garbage among torch's and timm's objects takes seconds, and finds nothing to do


def _stages(study: str, overrides: list[str] | None, stages: list[str] | None, only: str | None = None) -> None:
    _finish(_run(study, overrides, stages, only))


def _run(study: str, overrides: list[str] | None, stages: list[str] | None, only: str | None = None) -> Any:
    from raysweep.study.load import load_study
    from raysweep.study.run import STAGES, run_study

    return run_study(load_study(study, overrides or []), stages=stages or STAGES, only=only, progress=new_progress())


def _ships(name: str) -> bool:
    """Whether a study of that name ships with raysweep."""
    from raysweep.storage import shipped

    return "/" not in name and (shipped("studies") / f"{name}.yaml").is_file()


def _finish(outcome: Any) -> None:
    """Print what came of a run: the result table, the failures, where the report is."""
    if outcome.report is not None:
        from raysweep.report.summary import summary_legend, summary_rows

        header, rows = summary_rows(outcome.home)
        if rows:
            _table("results", header, rows)
        for line in summary_legend(header, rows):
            out.print(line, markup=False)
    for line in outcome.lines():
        out.print(line, markup=False)
    page = outcome.report.path("index.html") if outcome.report is not None else None
    if page is not None:
        out.print(f"report: {page}", markup=False)
    if OPTIONS["json"]:
        log_event("finished", failures=len(outcome.failures), left=len(outcome.left), report=page)
    if outcome.failures or outcome.left or outcome.others:
        raise typer.Exit(3)


def _table(title: str, header: list[str], rows: list[list[str]]) -> None:
    from raysweep.progress import print_table

    print_table(out, title, header, rows)


def _say(what: object, code: int) -> int:
    if OPTIONS["json"]:
        log_event("error", text=str(what), exit_code=code)
        return code
    Console(stderr=True, highlight=False, soft_wrap=True).print(without_secrets(f"raysweep: {what}"), markup=False)
    return code


if __name__ == "__main__":
    main()
