import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from raysweep.errors import RequestError
from raysweep.report.registration import record
from raysweep.report.seen import COLLECTION, IMAGES, LABELS, NONE, UNKNOWN, Seen
from raysweep.report.spec import CompareSpec, Primary
from raysweep.report.summary import summary_legend, summary_rows
from raysweep.report.write import write_report
from raysweep.storage import Storage
from raysweep.transfer.metrics import score
from raysweep.transfer.schema import RESULT_SCHEMA

from .fake_study import make_study, with_status, write_cell

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Reader(HTMLParser):
    """Text of a page; fails on tags that do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page_of(study) -> tuple[str, Reader]:
    report = write_report(**vars(study))
    page = report.read_bytes("index.html").decode()
    return page, Reader(page)


def contents(folder: Storage) -> dict[str, bytes]:
    files = [("index.html",), *((part, name) for part in ("tables", "figures") for name in folder.names(part))]
    return {"/".join(file): folder.read_bytes(*file) for file in files}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("write"), fractions=(0.1, 1.0))


@pytest.fixture(scope="module")
def written(study):
    return page_of(study)


def test_the_answer_comes_first(written):
    _, reader = written
    answer = reader.text.index("Better than imagenet: simclr (in 2 of 2 tasks). Worse: random")
    assert answer < reader.text.index("Same test units, same drawn labels") < reader.text.index("Each cell is one")


def test_the_page_stands_alone(written):
    page, reader = written
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"link", "iframe", "object"}
    assert [a for tag, a in reader.tags if tag == "script"] == [{}], "one, which loads nothing"
    for _, attributes in reader.tags:
        for name in ("src", "href", "xlink:href", "srcset"):
            target = attributes.get(name) or ""
            assert target.startswith(("#", "data:image/jpeg", "data:image/png", "tables/")) or not target
    assert "url(http" not in page
    assert "@import" not in page
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in reader.tags


def test_links_within_and_beside_the_page_lead_somewhere(study, written):
    _, reader = written
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.tags:
        target = attributes.get("href") or ""
        if tag == "a" and target.startswith("#"):
            assert target[1:] in ids
        elif target.startswith("tables/"):
            assert study.folder.exists("report", *target.split("/"))


def test_equal_inputs_give_equal_bytes(study, written):
    report = study.folder.at("report")
    before, results = contents(report), study.folder.read_bytes("results.parquet")
    shuffled = {**vars(study), "cells": study.cells[:1] + study.cells[:0:-1]}
    shuffled["cells"] = sorted(shuffled["cells"], key=lambda c: (study.cells.index(c) // 4, c.checkpoint))
    write_report(**shuffled)
    assert contents(report) == before
    assert study.folder.read_bytes("results.parquet") == results


def test_results_hold_every_final_in_a_fixed_order(study, written):
    results = study.folder.read_table("results.parquet")
    assert results.schema.names == [*RESULT_SCHEMA.names, "seen", "point"]
    assert set(results["seen"].to_pylist()) == {""}
    assert results.num_rows == 3 * len(study.cells)
    assert set(results["repeat"].to_pylist()) == {0, 1, 2}
    keys = list(
        zip(*(results[k].to_pylist() for k in ("task", "protocol", "fraction", "checkpoint", "repeat")), strict=True)
    )
    assert keys == sorted(keys)


def test_tables_of_all_formats_hold_the_same_numbers(study, written):
    tables = study.folder.at("report", "tables")
    for name in ("main", "results", "differences", "search", "slides", "checkpoints", "per_class", "missing"):
        rows = list(csv.reader(io.StringIO(tables.read_bytes(f"{name}.csv").decode())))
        markdown = tables.read_bytes(f"{name}.md").decode().splitlines()
        latex = tables.read_bytes(f"{name}.tex").decode()
        assert len(markdown) == len(rows) + 1
        shown = [re.findall(r"\d+\.\d+", line) for line in markdown[2:]]
        assert [re.findall(r"\d+\.\d+", line) for line in latex.splitlines()[4:-2]] == shown


def test_csv_is_for_machines(study, written):
    tables = study.folder.at("report", "tables")
    read = {n[:-4]: pd.read_csv(io.BytesIO(tables.read_bytes(n))) for n in tables.names() if n.endswith(".csv")}
    for name, columns in {"results": ["fraction", "value", "low", "high", "test units"], "pairs": ["difference", "p"],
                          "differences": ["fraction", "difference", "low", "high", "p", "p corrected", "p equal",
                                          "simultaneous low", "SE", "df", "seed sd"],
                          "crossovers": ["images"],
                          "search": ["trials"]}.items():  # fmt: skip
        for column in columns:
            assert read[name][column].dtype.kind in "fi", (name, column)
    for name in read:
        assert "\u2212" not in tables.read_bytes(f"{name}.csv").decode(), name
    d = read["differences"].set_index(["task", "checkpoint"]).loc[("glands", "random")]
    assert ((d["difference"] < 0) & (d["p"] > 0) & (d["p"] < 0.001)).all()
    assert d["fraction"].isna().tolist() == [False, False, True]  # the mean over fractions
    said = read["columns"].set_index(["table", "column"])["meaning"]
    printed = {c for (t, c), text in said.items() if text.startswith("as printed")}
    assert printed == {"10 %", "100 %"}
    assert {(name, c) for name, table in read.items() if name != "columns" for c in table} == set(said.index)


def test_page_and_tables_agree(study, written):
    _, reader = written
    for row in csv.DictReader(io.StringIO(study.folder.read_bytes("report", "tables", "main.csv").decode())):
        value = row["100 %"].split()[0]
        assert value in reader.text


def test_what_intervals_cover_is_said(written):
    text = written[1].text
    assert "another draw of that many labels from the same pool" in text
    assert "another pool of labelled units is not covered" in text
    assert "it is about those very weights" in text
    assert "(at 100 % every draw is that pool, so no other is covered), another seed and another search" in text
    assert "this checkpoint and not its method" in text
    assert "the loss on val chose settings, not the metric" in text
    assert "val: 5 (1)" in text


def test_names_and_reasons_are_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",),
                       skills={"imagenet": 0.9, "<b>&": 1.2, "lost": 0.5})  # fmt: skip
    study.study = evil
    study.cells = [with_status(c, "failed", evil) if c.checkpoint == "lost" else c for c in study.cells]
    page, reader = page_of(study)
    assert "<script>alert" not in page
    assert "<b>&" not in page
    assert evil in reader.text
    assert "<b>&" in reader.text


def test_failed_and_unfinished_cells_appear_as_such(tmp_path):
    study = make_study(tmp_path, fractions=(0.1, 1.0), tasks=("tissue",), protocols=("finetune",))
    done = study.cells
    study.cells = [with_status(c, "failed", "no memory") if c.checkpoint == "simclr"
                   else with_status(c, "running") if c.checkpoint == "random" and c.fraction == 1.0 else c
                   for c in done]  # fmt: skip
    _, reader = page_of(study)
    assert "no memory" in reader.text
    assert "3 planned cells lack repeats" in reader.text
    assert "Comparisons under finetune stay in the count" in reader.text
    assert "the missing ones have not used theirs, or not all of it" in reader.text
    main = study.folder.read_bytes("report", "tables", "main.csv").decode()
    assert "simclr,failed,failed" in main
    assert ",running" in main


def test_a_damaged_result_is_a_failed_repeat(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",))
    study.cells[1].repeats[2].folder.write_bytes(b"no table", "final.parquet")
    _, reader = page_of(study)
    missing = study.folder.read_bytes("report", "tables", "missing.csv").decode()
    assert "1,2,failed,its results cannot be read (ArrowInvalid)" in missing
    assert "random at 100 % has 2 of 3 repeats. repeat 2: its results cannot be read (ArrowInvalid)." in reader.text
    main = study.folder.read_bytes("report", "tables", "main.csv").decode()
    assert "(2 of 3 repeats)" in main


def test_a_metric_that_was_listed_later_is_counted_from_the_predictions(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",))
    study.cells = [replace(c, metrics=("balanced_accuracy", "auroc")) for c in study.cells]
    page_of(study)
    rows = study.folder.read_table("results.parquet").to_pylist()
    assert [r["metric"] for r in rows[:6]] == ["auroc"] * 3 + ["balanced_accuracy"] * 3
    folder = study.cells[0].repeats[0].folder
    predictions = folder.read_table("predictions", "tissue.parquet")
    [row] = [r for r in rows if r["folder"] == study.cells[0].repeats[0].path and r["metric"] == "auroc"]
    assert row["value"] == pytest.approx(score(predictions, "auroc", "classification"))


def test_a_metric_whose_counts_were_not_kept_is_refused_by_name(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), tasks=("glands",), protocols=("finetune",))
    study.compare = CompareSpec(baseline="imagenet", primary=Primary(metric="pq"))
    with pytest.raises(RequestError, match="metric pq: the predictions of imagenet · glands"):
        page_of(study)


def test_one_search_for_all_and_a_changed_comparison_are_said_at_the_top(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",))
    record(study.folder, study.compare)
    first = study.folder.read_bytes("compare.json")
    assert "Exploratory" not in page_of(study)[1].text
    study.compare = CompareSpec(baseline="random", margin=0.05)
    study.question = "Is it worth it?"
    record(study.folder, study.compare)
    record(study.folder, study.compare)
    assert len(study.folder.read_json("compare.json")) == 2
    assert study.folder.read_json("compare.json")[0] == json.loads(first)[0]
    for cell in study.cells:
        tables = [r.folder.read_table("predictions", f"{cell.task}.parquet") for r in cell.repeats]
        write_cell(study.folder, cell, tables, search="once")
    page, reader = page_of(study)
    assert "<title>Is it worth it?</title>" in page
    top = reader.text[: reader.text.index("Differences to")]
    said = "Exploratory: the comparison was changed after results were there. tissue: with 240 labelled images of 40 "
    assert f"{said}patients, this simclr checkpoint is better" in top
    assert "compare.baseline was imagenet when the first search began" in top
    assert "compare.margin was 0.02" in top
    assert "One search served all repeats" in top
    assert "It does not cover another search" in reader.text
    assert ",exploratory," in study.folder.read_bytes("report", "tables", "differences.csv").decode()


def test_nothing_finished_still_gives_a_page(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",))
    study.cells = [with_status(c, "waiting") for c in study.cells]
    assert "There is no answer yet: no repeat is finished." in page_of(study)[1].text
    assert study.folder.read_table("results.parquet").num_rows == 0
    study.cells, study.patch_sets, study.checkpoints = [], {}, {}
    study.compare = CompareSpec()
    assert "There is no answer yet" in page_of(study)[1].text


def test_an_earlier_report_leaves_nothing_behind(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), protocols=("finetune",))
    page_of(study)
    assert "values-glands-finetune.svg" in study.folder.names("report", "figures")
    study.folder.write_json({}, "report", "manifest.json")
    study.cells = [c for c in study.cells if c.task == "tissue"]
    page_of(study)
    assert study.folder.names("report", "figures") == [
        "differences-tissue.svg",
        "search-tissue-finetune.svg",
        "training-tissue-finetune.svg",
        "values-tissue-finetune.svg",
    ]
    assert study.folder.exists("report", "manifest.json")


def test_few_units_and_single_images_are_said(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",), units=4)
    study.cells = [replace(c, unit="image") for c in study.cells]
    text = page_of(study)[1].text
    assert "No interval: 4 test units: at least 8 are needed." in text
    assert "how far they depend on each other is unknown" in text


def test_a_baseline_or_protocol_that_was_not_run_is_said(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("linear",))
    assert "no cell uses finetune" in page_of(study)[1].text
    study.compare = CompareSpec(baseline="gone", primary=Primary(protocol="linear"))
    assert "the baseline gone is not among the checkpoints" in page_of(study)[1].text


def test_long_tables_are_cut_on_the_page_alone(tmp_path):
    skills = {f"grid-{i}": 0.5 for i in range(70)}
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",), units=6, repeats=1,
                       skills=skills)  # fmt: skip
    page, reader = page_of(study)
    assert "The first 60 of 70" in reader.text
    assert "grid-69" in study.folder.read_bytes("report", "tables", "main.csv").decode()
    assert len(page) < 450_000
    assert "the 11 highest of 70" in reader.text


def test_what_weights_have_seen_is_marked_at_every_number(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), protocols=("finetune",))
    words = {"simclr": IMAGES, "random": NONE, "retrained": UNKNOWN}
    study.cells = [
        replace(c, seen=(Seen(c.task, words[c.checkpoint], "why"),))
        if c.checkpoint in words and c.task == "tissue" else c
        for c in study.cells
    ]  # fmt: skip
    page, reader = page_of(study)
    tables = study.folder.at("report", "tables")
    for name, column in (("main", "100 %"), ("results", "seen"), ("differences", "seen"), ("per_class", "seen")):
        rows = list(csv.DictReader(io.StringIO(tables.read_bytes(f"{name}.csv").decode())))
        marked = [row for row in rows if row["checkpoint"] == "simclr" and row["task"] == "tissue"]
        assert marked
        assert all("†" in row[column] or row[column] == IMAGES for row in marked)
        assert not any("†" in row[column] or row[column] == IMAGES for row in rows if row not in marked)
    assert r"$\dagger$" in tables.read_bytes("main.tex").decode()
    results = study.folder.read_table("results.parquet").to_pylist()
    assert {row["seen"] for row in results if row["task"] == "tissue"} == {"", *words.values()}
    assert {row["seen"] for row in results if row["task"] == "glands"} == {""}
    line = "† images seen unlabelled: the checkpoint was pretrained on images of tested patients, without their labels."
    assert reader.text.count(line) == 2, "with the answer and with the values"
    answer, differences, values = (
        reader.text.index("Better than"),
        reader.text.index("Same test"),
        page.index('"values"'),
    )
    assert "†" in reader.text[answer:differences].partition("In brackets")[0]
    assert "†" in page[page.index('id="differences"') : values]
    assert "†" in page[values : page.index("images seen unlabelled", values)]
    assert "why" in reader.text[reader.text.index("lineage") :]
    header, rows = summary_rows(study.folder)
    assert summary_legend(header, rows) == [line.rstrip(".")]


def test_a_baseline_that_has_seen_marks_every_difference(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",))
    words = {"imagenet": LABELS, "simclr": COLLECTION}
    study.cells = [replace(c, seen=(Seen(c.task, words.get(c.checkpoint, NONE), "2 of 4"),)) for c in study.cells]
    page, reader = page_of(study)
    differences = page[page.index('id="differences"') : page.index('id="values"')]
    assert re.findall(r"[+−]?0\.\d{3}([^\w\s<]+)<small>", differences) == ["‡", "§‡", "‡"]
    top = reader.text[: reader.text.index("Differences to")]
    assert "imagenet was taught with labels of tissue (2 of 4): its values there are not those of unseen" in top
    assert top.index("‡ labels seen") < top.index("§ same collection")


def test_summary_is_the_main_table_with_verdicts(study, written):
    header, rows = summary_rows(study.folder)
    assert header == ["task", "protocol", "metric", "checkpoint", "10 %", "100 %", "against imagenet"]
    own = {tuple(row[:2] + row[3:4]): row for row in rows}
    assert own["glands", "finetune", "simclr"][-1].startswith("better")
    assert own["tissue", "finetune", "simclr"][-1].endswith("better (100 %)")  # at 10 % 24 patients do not decide it
    assert own["tissue", "finetune", "imagenet"][-1] == "baseline"
    assert own["tissue", "linear", "simclr"][-1] == ""
    assert re.fullmatch(r"0\.\d{3} \[0\.\d{3}, [01]\.\d{3}\]( \*)?", own["glands", "finetune", "random"][4])
    assert summary_rows(study.folder.at("nothing")) == ([], [])
    assert summary_legend(header, rows) == summary_legend([], []) == []
    named = [["§", "finetune", "dice", "†", "0.5 ‡", "", ""]]
    assert [line[:13] for line in summary_legend(header, named)] == ["‡ labels seen"], "names are no marks"


def test_the_decoder_of_a_task_stands_with_its_values(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), protocols=("finetune",))
    said = "deeplabv3 (output_stride: 8)"
    study.cells = [replace(c, decoder=said if c.kind == "segmentation" else "") for c in study.cells]
    text = page_of(study)[1].text
    assert text.count(f"Decoder of every checkpoint: {said}.") == text.count("Decoder of every checkpoint") == 1


def test_report_loads_neither_torch_nor_ray(study, written):
    light = "import raysweep.report.cells, raysweep.report.spec, raysweep.report.summary"
    heavy = "import raysweep.report.write, raysweep.backbones.checkpoint"
    check = "import sys; found = {m.split('.')[0] for m in sys.modules}; print(sorted(found & %s))"
    never = {"torch", "ray", "optuna", "timm", "sklearn", "torchvision", "statsmodels"}
    for code, banned in ((light, {*never, "matplotlib", "scipy"}), (heavy, never)):
        program = f"{code}; {check % banned!s}"
        assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
