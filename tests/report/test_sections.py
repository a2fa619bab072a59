"""The page's sections beyond values and differences, from a whole study: what they show is what the files say."""

import base64
import csv
import io
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from raysweep.report.mistakes import read_mistakes
from raysweep.report.pictures import read_galleries
from raysweep.report.rows import read_rows
from raysweep.report.style import BACKGROUND, OUTSIDE, mask_colours
from raysweep.report.write import write_report
from raysweep.storage import Storage

from .fake_study import make_study
from .fake_task import SHOWN, disc


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = make_study(tmp_path_factory.mktemp("sections"), fractions=(0.1, 1.0), protocols=("finetune",))
    write_report(**vars(study))
    return study


@pytest.fixture(scope="module")
def page(study):
    return study.folder.read_bytes("report", "index.html").decode()


def section(page: str, name: str) -> str:
    """From one heading of the second level to the next."""
    return page[page.index(f'id="{name}"') :].partition("<h2")[0]


def table(study, name: str) -> list[dict[str, str]]:
    text = study.folder.read_bytes("report", "tables", f"{name}.csv").decode()
    return list(csv.DictReader(io.StringIO(text)))


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def picture(data: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"))


def colour(text: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(text[1:]))


def test_overview_has_means_over_labels_and_the_verdict_of_their_differences(study, page):
    rows = re.findall(r'<tr><th scope="row">(.*?)</tr>', section(page, "overview"))
    values = {(r["task"], r["checkpoint"], r["fraction"]): float(r["value"]) for r in table(study, "results")}
    verdicts = {(r["task"], r["checkpoint"]): r["verdict"] for r in table(study, "differences") if not r["fraction"]}
    assert len(rows) == 4
    for row in rows:
        name = re.sub(r"<[^>]*>", "", row.partition("</span>")[0])
        cells = re.findall(r'--h:(\d+)%" title="([^"]*)">([\d.]+)', row)
        for task, (_, said, value) in zip(("tissue", "glands"), cells, strict=True):
            assert value == f"{(values[task, name, '0.1'] + values[task, name, '1']) / 2:.3f}"
            assert verdicts.get((task, name), "the baseline") in said
    shares = [int(x) for x in re.findall(r"--h:(\d+)%", section(page, "overview"))]
    assert sorted(shares[::2])[::3] == sorted(shares[1::2])[::3] == [0, 100], (
        "each column from its lowest to its highest"
    )


def test_all_pairs_stand_in_maps_that_are_closed(study, page):
    start = page.index('<details id="pairs">')
    maps = page[start : page.index("</details>", start)]
    assert maps.count('<table class="heat">') == 4
    pairs = {(r["task"], r["fraction"], r["first"], r["second"]): r for r in table(study, "pairs")}
    assert len(re.findall('class="(?:more|less)"', maps)) == len(pairs) == 24
    said = re.findall(r'title="(\w+) minus (\w+): ([+−][\d.]+), ([^,"]+)', maps)
    first = [p for p in pairs.values() if p["task"] == "tissue" and p["fraction"] == "0.1"]
    for (a, b, value, verdict), row in zip(said, first, strict=False):
        assert (a, b, verdict) == (row["first"], row["second"], row["verdict"])
        assert float(value.replace("−", "-")) == pytest.approx(float(row["difference"]), abs=6e-4)


def test_few_checkpoints_of_one_task_have_no_maps(tmp_path):
    skills = {"imagenet": 0.9, "simclr": 1.5}
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",), skills=skills)
    page = write_report(**vars(study)).read_bytes("index.html").decode()
    assert 'id="overview"' not in page
    assert 'id="pairs"' not in page


def test_gallery_shows_the_worst_the_median_and_the_best_of_the_kept(study):
    _, cells = read_rows(study.cells, None)
    [found], note = read_galleries(cells, study.tasks, 0, protocol="finetune")
    dice = {}
    for cell in cells:
        if cell.task == "glands" and cell.fraction == 1.0:
            for row in cell.repeats[0].folder.read_table("predictions", "glands.parquet").to_pylist()[:SHOWN]:
                tp, fp, fn = (row[k][1] for k in ("tp", "fp", "fn"))
                dice.setdefault(row["sample"], []).append(2 * tp / (2 * tp + fp + fn))
    order = sorted(dice, key=lambda s: np.mean(dice[s]))
    wanted = [f"worst: {order[0]}", f"median: {order[4]}", f"best: {order[-1]}"]
    assert [what for what, _ in found.rows] == wanted
    assert [p.below for p in found.rows[0][1]] == ["image", "truth", *(f"{v:.3f}" for v in dice[order[0]])]
    assert found.checkpoints == ["imagenet", "random", "simclr", "retrained"]
    assert note == ""
    truth, predicted = (picture(found.rows[0][1][i].data) for i in (1, 2))
    blue, orange, yellow = (colour(c) for c in mask_colours()[:3])
    ids = disc(0.5)
    assert (truth[ids == 1] == blue).all()
    assert (truth[ids == 0] == colour(BACKGROUND)).all()
    assert (truth[ids == 255] == colour(OUTSIDE)).all()
    seen = {tuple(c) for c in predicted.reshape(-1, 3)}
    assert seen == {blue, orange, colour(BACKGROUND), colour(OUTSIDE)}, "a smaller disc: hits and misses, nothing added"
    assert yellow not in seen


def test_pictures_that_are_not_there_are_not_missed(study, tmp_path):
    shutil.copytree(study.folder.root, tmp_path / "study")
    home = Storage.open(tmp_path / "study")
    for place in ("tissue", "glands"):
        home.remove("tasks", place, "0a1b2c3d", "thumbnails-0.parquet")
    moved = replace_home(study, home)
    page = write_report(**moved).read_bytes("index.html").decode()
    assert "data:image/png" not in page
    assert "per cent of it" in page, "matrices need no pictures"


def replace_home(study, home: Storage) -> dict:
    """The study's arguments with everything below another folder."""
    old = study.folder.root
    move = lambda place: Storage.open(place.root.replace(old, home.root))  # noqa: E731
    cells = [replace(c, repeats=tuple(replace(r, folder=move(r.folder)) for r in c.repeats)) for c in study.cells]
    return {**vars(study), "folder": home, "cells": cells, "tasks": {n: move(p) for n, p in study.tasks.items()},
            "patch_sets": {n: move(p) for n, p in study.patch_sets.items()},
            "checkpoints": {n: [move(p) for p in ps] for n, ps in study.checkpoints.items()}}  # fmt: skip


def test_confusion_and_mistakes_are_those_of_the_predictions(study):
    rows, cells = read_rows(study.cells, None)
    [found], [confusion, mistakes] = read_mistakes(cells, rows, study.tasks, 0, protocol="finetune")
    cell = next(c for c in cells if c.task == "tissue" and c.checkpoint == "random" and c.fraction == 1.0)
    tables = [r.folder.read_table("predictions", "tissue.parquet").to_pylist() for r in cell.repeats]
    counts = np.zeros((2, 2), int)
    for row in (row for own in tables for row in own):
        counts[row["label"], int(np.argmax(row["scores"]))] += 1
    own = [line for line in confusion.rows if line[3] == "random"]
    assert [int(line[6]) for line in own] == counts.ravel().tolist()
    assert [float(line[7]) for line in own] == pytest.approx((counts / counts.sum(1, keepdims=True)).ravel(), abs=1e-4)
    wrong = sorted(
        (-max(row["scores"]), row["sample"]) for row in tables[0] if np.argmax(row["scores"]) != row["label"]
    )
    listed = [line for line in mistakes.rows if line[3] == "random"]
    assert [line[4] for line in listed] == [name for _, name in wrong[:20]]
    kept = {row["sample"] for row in study.tasks["tissue"].read_table("thumbnails-0.parquet").to_pylist()}
    [(_, count, shown)] = [p for p in found.pictures if p[0] == "random"]
    surest = [name for _, name in wrong if name in kept]
    assert count == f"{len(surest)} of {SHOWN} wrong"
    assert [p.alt.split()[2] for p in shown] == surest[:3]


def test_data_says_how_tasks_are_divided_what_is_left_out_and_under_which_licence(study, page):
    splits = {(r["task"], r["part"]): r for r in table(study, "splits")}
    assert splits["tissue", "train"]["by class"] == "stroma 20 (20), tumour 20 (20)"
    assert (splits["tissue", "test"]["units"], splits["tissue", "test"]["images"]) == ("24", "144")
    excluded = table(study, "excluded")
    assert [(r["of"], r["set"]) for r in excluded] == [("slide", "tissue112")] * 2 + [
        ("image", "tissue"),
        ("image", "glands"),
    ]
    assert excluded[-1]["reason"] == "the file is empty"
    licences = {(r["of"], r["name"], r["licence"]): r["commercial use"] for r in table(study, "licences")}
    assert licences["data", "tissue", "research use only"] == "forbidden"
    assert licences["weights", "simclr", "CC BY 4.0"] == "allowed"
    assert licences["weights", "imagenet", "not stated"] == "not known"
    assert licences["weights", "random", "own weights"] == ""
    warning = "Commercial use is forbidden by the licence of tissue (research use only), glands (research use only)."
    assert warning in text_of(page[: page.index("<nav")])
    [patches] = table(study, "patches")
    assert (patches["slides"], patches["patients"], patches["patches"]) == ("5", "3", "610")
    assert (patches["fewest of a patient"], patches["most of a patient"]) == ("124", "245")


def test_it_says_how_to_do_it_again(study, page):
    own = section(page, "reproduce")
    assert "/home/me" not in page
    assert "storage: …/runs" in own
    prints = {(r["kind"], r["name"]): r["fingerprint"] for r in table(study, "fingerprints")}
    assert prints["task", "glands"] == "0a1b2c3d" * 4
    assert prints["patch set", "tissue112"] == "not finished"
    paragraph = text_of(own[own.index('class="manuscript"') :])
    for said in ("We compared 4 checkpoints (imagenet, random, simclr and retrained) on 2 tasks (tissue and glands)",
                 "10 % and 100 % of the training labels", "was repeated 3 times", "(4 trials, sampler tpe)",
                 "fixed before the first search, was the difference in balanced accuracy and Dice to imagenet",
                 "Test units (patients) and repeats", "less than 0.02"):  # fmt: skip
        assert said in paragraph
    assert "<dt>commit</dt><dd>0c1a2b3 with changes</dd>" in own
    assert "with raysweep 0.1.0 (commit 0c1a2b3 with changes)." in paragraph


def test_who_leads_with_fewer_trials_is_said_with_what_it_cannot_say(study, page):
    own = text_of(page[page.index('id="fewer-trials"') :][:3000])
    assert "tissue: in 0 of 6 comparisons with imagenet the one that leads on validation after all trials" in own
    assert "neither leads at the end for random at 10 %" in own
    assert "were never trained" in own
    assert len(table(study, "fewer_trials")) == 2 * 3 * 2 * 4


def test_trainings_and_searches_are_drawn_with_what_they_show(study, page):
    names = study.folder.names("report", "figures")
    assert {"search-tissue-finetune.svg", "training-glands-finetune.svg"} <= set(names)
    own = text_of(section(page, "cost"))
    assert "At their best when they ended, in half of the finals or more: imagenet (3 of 3)" in own
    assert "Difference to imagenet on validation at step 10, and at step 20: random 0.000, 0.000" in own
    labels = re.findall(r'role="img" aria-label="([^"]*)"', page)
    assert len(labels) == len(set(labels)) == 9
    assert all(re.search(r"simclr [+−]?\d\.\d{2,3}", label) for label in labels)


def test_a_page_that_would_be_too_large_has_no_pictures(study, monkeypatch):
    monkeypatch.setattr("raysweep.report.write.MOST_BYTES", 1000)
    page = write_report(**vars(study)).read_bytes("index.html").decode()
    assert "data:image/png" not in page
    assert "Pictures are left out: the page would be too large." in page
    monkeypatch.undo()
    write_report(**vars(study))
