import json
import logging
import sys
from pathlib import Path

import pytest

import raysweep
from raysweep.cli import main
from raysweep.commands import new_progress

_COMMANDS = ["demo", "run", "plan", "tile", "pretrain", "tune", "report", "status", "verify", "export", "predict",
             "clean", "doctor", "new"]  # fmt: skip
_CARDS = [["checkpoints", "list"], *(["datasets", c] for c in ("list", "show", "prepare", "new"))]
_PATCHES = ["--um", "64", "--px", "64", "--out", "o"]


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["raysweep", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.mark.parametrize("command", [*([c] for c in _COMMANDS), *_CARDS])
def test_every_command_has_help(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, *command, "--help") == 0
    text = capsys.readouterr().out
    assert "Usage" in text
    assert len(text) > 300


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "gone.yaml"], "gone.yaml: no such study file; studies that ship with raysweep: demo, glas"),
        (["run", "demo"], "demo.yaml: data is not set; give it as data=VALUE"),
        (["run", "demo", "data=x", "transfer.trails=3"], "unknown key transfer.trails; did you mean trials?"),
        (["tile", "a.svs"], "slides need --um, --px and --out"),
        (["tile", "a.svs", *_PATCHES], "slides a.svs: no such file"),
        (["tile", "a.svs", "--px", "64", "--out", "o"], "slides need --um, --px and --out"),
        (["tile", "tissue=all", *_PATCHES], "slides need --um, --px and --out"),
        (["tile", "a.svs", "--um", "0", "--px", "64", "--out", "o"], "um: input should be greater than 0 (given: 0.0)"),
        (
            ["tile", "a.svs", "--um", "inf", "--px", "64", "--out", "o"],
            "um: input should be a finite number (given: inf)",
        ),
        (["tile", "a.svs", "--um", "64", "--px", "4", "--out", "o"], "px: input should be greater than or equal to 8"),
        (["tile", "a.svs", "stride=0", *_PATCHES], "stride: input should be greater than 0"),
        (["tile", "a.svs", "tisue=all", *_PATCHES], "unknown key tisue; did you mean tissue?"),
        (["tile", "a.svs", "tissue.methd=hsv", *_PATCHES], "unknown key tissue.methd; did you mean method?"),
        (["tile", "a.svs", "tissue.method=magic", *_PATCHES], "tissue.method: there is no method magic"),
        (["tile", "a.svs", "export=[", *_PATCHES], "export=[, line 1: not YAML"),
        (["tile", "a.svs", "um=3", *_PATCHES], "um: is given twice, as --um and as um=; keep one"),
        (["tile", "a.svs", "mpp=native", *_PATCHES], "give either `um`"),
        (["tile", "a.svs", "slides=b.svs", *_PATCHES], "slides: here they are arguments of their own"),
        (["tile", "a.svs", *_PATCHES, "--only", "x"], "tile: --only is for a study"),
        (["tile", "study.yaml", "--px", "64"], "tile: --px is for slides; a study has keys"),
        (["tile", "a\udcff.svs", *_PATCHES], "a\\udcff.svs is not UTF-8; name its folder, or a glob in quotes"),
        (["tile", "kawai_ptcga200"], "kawai_ptcga200.yaml: data is not set; give it as data=VALUE"),
        (["tile", "kawai_ptcga200", *_PATCHES], "slides kawai_ptcga200: no such file"),
        (["datasets", "show", "glas-grad"], "glas-grade"),
        (["datasets", "show", "glas-grade", "--pictures", "x.html"], "was not prepared here; say where its files are"),
        (
            ["datasets", "prepare", "demo-tissue", "--data", "d", "--download"],
            "says nothing of a download; get the set",
        ),
        (["datasets", "new", "gone"], "gone: there is no such folder; name the one that the images stand in"),
        (["new", "gone", "--with", "imagenet"], "gone: there is no such folder"),
        (["new", "--with", "imagenet", "gone", "/usr"], "gone is no folder; the folder comes first: raysweep new /usr"),
        (["new", "/usr"], "--with: name the weights to compare"),
        (["verify", "nothing"], "there is no report/told.json in it; name a study's folder, or its report/"),
        (["report", "a.yaml", "b.yaml"], "--out FOLDER is where the report of several studies goes: give both"),
        (["report", "a.yaml", "--out", "o"], "--out FOLDER is where the report of several studies goes: give both"),
        (["report", "x=1"], "report: name a study file"),
        (["report", "a.yaml", "b.yaml", "--out", "/usr"], "--out /usr: there is something else in this folder (bin)"),
        (["report", "gone.yaml", "--share", "."], "gone.yaml: no such study file"),
        (["report", "gone.yaml", "--share", "/usr"], "--share /usr: there is something in this folder already"),
        (["export", "nothing"], "nothing: no checkpoint here"),
        (["predict", "nothing", "patches", "--out", "o.parquet"], "nothing: no trained model here"),
        (["predict", "nothing", "patches"], "Missing option"),
        (["clean", "demo", "data=x", "storage=/dev/null"], "storage /dev/null/demo: is no folder (Not a directory)"),
        (["plan", "x" * 300 + ".yaml"], "xxx.yaml: cannot be used (File name too long); check this path"),
        (["datasets", "new", "x/" * 3000], "cannot be used (File name too long); check this path"),
        (["frobnicate"], "No such command"),
        (["run"], "Missing argument"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run(monkeypatch, *arguments) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert "Traceback" not in printed.err
    assert not list(tmp_path.iterdir())


def test_an_unexpected_error_is_a_sentence_and_a_traceback_only_under_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("raysweep.study.cards.card_rows", broken)
    assert _run(monkeypatch, "datasets", "list") == 1
    assert "unexpected ZeroDivisionError: a bug (--debug shows more)" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["raysweep", "--debug", "datasets", "list"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_cards_are_listed_and_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(monkeypatch, "datasets", "list") == 0
    listed = capsys.readouterr().out
    assert "demo-tissue" in listed
    assert "glas-glands" in listed
    assert _run(monkeypatch, "datasets", "show", "glas-grade") == 0
    assert "patient" in capsys.readouterr().out


def test_published_models_are_listed_with_their_terms(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, "checkpoints", "list") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("uni2-h"))
    for said in ("vit_giant_patch14_224", "CC-BY-NC-ND-4.0", "0.5", "224", "MahmoodLab/UNI2-h", "not to be passed on"):
        assert said in line


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"raysweep {raysweep.__version__}\n"


def test_doctor_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert _run(monkeypatch, "doctor", "--storage", str(tmp_path)) == 0
    assert "OpenSlide" in capsys.readouterr().out
    assert _run(monkeypatch, "doctor", "--storage", "/proc/nowhere") == 1
    assert "WRONG" in capsys.readouterr().out


def test_with_log_json_a_refusal_is_an_event(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert _run(monkeypatch, "--log", "json", "run", "gone.yaml") == 2
        (line,) = capsys.readouterr().err.splitlines()
        event = json.loads(line)
        assert (event["what"], event["exit_code"], event["stage"]) == ("error", 2, None)
        assert event["text"].startswith("gone.yaml: no such study file")
        with new_progress().stage("tile", 3, "slides"):
            pass
        assert [json.loads(line)["what"] for line in capsys.readouterr().err.splitlines()] == ["started", "ended"]
        assert _run(monkeypatch, "run", "gone.yaml") == 2
        assert capsys.readouterr().err.startswith("raysweep: gone.yaml: no such study file")
        assert (new_progress().json, new_progress().debug) == (False, False)
        assert _run(monkeypatch, "--log", "yaml", "run", "gone.yaml") == 2
    finally:
        logging.captureWarnings(False)


@pytest.mark.parametrize(
    "arguments",
    [["submit", "a.yaml"], ["cluster", "slurm", "a.yaml"], ["cluster", "kubernetes", "a.yaml", "--image", "i"]],
)
def test_an_override_with_a_password_becomes_no_part_of_a_job(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, *arguments, "storage=s3://KEY:hush@bucket/runs") == 2
    said = capsys.readouterr()
    assert "storage: holds a password or a key, which everybody who sees the job would see; give it" in said.err
    assert "hush" not in said.out + said.err
