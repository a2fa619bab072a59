"""What a study that somebody else wrote may refer to."""

from pathlib import Path

import pytest

from raysweep.errors import RequestError
from raysweep.study.load import load_study
from raysweep.study.references import check_references

_STUDY = """
name: glands
question: "{}"
checkpoints:
  random: {{backbone: resnet18}}
"""


@pytest.mark.parametrize(
    "raw",
    [
        {"data": "/x", "slides": "${data}/slides.csv"},
        {"data": "/x", "deep": {"a": "${data}", "b": "${.a}/${..data}", "c": ["${deep.b}"]}},
        {"list": ["a", "b"], "one": "${list[0]}${list.1}", "plain": "costs $5 {really}", "escaped": r"\${data}"},
        {"unknown": "${gone}"},
    ],
)  # fmt: skip
def test_keys_of_the_study_are_fine(raw: dict) -> None:
    check_references(raw, "a.yaml")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"a": "${oc.env:HOME}"}, r"^a\.yaml: a: \$\{oc\.env:HOME\}: a study reads nothing but its own .* as a=VALUE$"),
        ({"a": {"b": ["${oc.decode:x}"]}}, r"a\.b\.0: \$\{oc\.decode:x\}: a study reads nothing"),
        ({"a": "${b.${c}}", "c": "x"}, r"only \$\{KEY\} can be written there"),
        ({"a": "${${c}:HOME}", "c": "oc.env"}, r"only \$\{KEY\} can be written there"),
        ({"a": "${b}", "b": "${a}"}, "refers to itself"),
        ({"a": {"b": "${a}"}}, "refers to itself"),
    ],
)  # fmt: skip
def test_nothing_else_is_read(raw: dict, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        check_references(raw, "a.yaml")


def test_keys_that_repeat_each_other_stay_small() -> None:
    bomb = {"a0": "x" * 10, **{f"a{i}": f"${{a{i - 1}}}" * 10 for i in range(1, 12)}}
    with pytest.raises(RequestError, match=r"is longer than 16,777,216 characters with its \$\{\.\.\.\} written out"):
        check_references(bomb, "a.yaml")
    lists = {"a0": ["x"], **{f"a{i}": [f"${{a{i - 1}}}"] * 10 for i in range(1, 12)}}
    with pytest.raises(RequestError, match="is longer than"):
        check_references(lists, "a.yaml")


def test_the_environment_stays_out_of_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hush")
    path = tmp_path / "glands.yaml"
    path.write_text(_STUDY.format("${oc.env:HF_TOKEN}"))
    with pytest.raises(RequestError, match=r"question: .*reads nothing but its own keys") as caught:
        load_study(path)
    assert "hush" not in str(caught.value)
    path.write_text(_STUDY.format("of ${name}"))
    assert load_study(path).study.question == "of glands"
    deep = "[" * 60 + "]" * 60
    with pytest.raises(RequestError):
        load_study(path, [f"question={deep}"])
