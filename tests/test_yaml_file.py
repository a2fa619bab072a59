"""Files of ours: keys once, numbers that remember how they were written, and nothing but plain values."""

import os
import pickle
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.yaml_file import key_lines, load_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("-2", -2), ("1.5", 1.5), ("true", True), ("False", False), ("null", None), ("~", None),
        ("no", "no"), ("Yes", "Yes"), ("on", "on"), ("2020-01-01", "2020-01-01"), ("1:30", "1:30"), ("1_000", "1_000"),
        ("010", 10), ("0x1f", 31), ("'1'", "1"), ("[0, 1e3]", [0, 1000.0]),
    ],
)  # fmt: skip
def test_plain_words_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    assert parse_yaml(text, "x") == value
    assert type(parse_yaml(text, "x")) is type(value) or isinstance(value, int | float)


def test_keys_are_names_and_merged_mappings_yield_to_keys_of_their_own() -> None:
    text = "base: &b {0: x, no: y}\nnext: {<<: *b, 0: z, 1e3: w}"
    assert parse_yaml(text, "x")["next"] == {"0": "z", "no": "y", "1e3": "w"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{<<: *b}", {"key": 2, "k": 2}),
        ("{<<: [*a, *b]}", {"key": 1, "k": 1}),
        ("{<<: [*b, *a], k: 3}", {"key": 2, "k": 3}),
        ("{'<<': x}", {"<<": "x"}),
    ],
)
def test_what_is_merged_has_the_value_of_the_nearest(text: str, value: Any) -> None:
    bases = "a: &a {key: 1, k: 1}\nb: &b {<<: *a, key: 2, k: 2}\n"
    assert parse_yaml(f"{bases}c: {text}", "x")["c"] == value
    assert parse_yaml(f"{bases}<<: *b\n", "x") == {"a": {"key": 1, "k": 1}, "b": {"key": 2, "k": 2}, "key": 2, "k": 2}


@pytest.mark.parametrize(
    "text",
    ["a: 1\na: 2", "b: [{a: 1, a: 2}]", 'a: 1\n"a": 2', "a: 1\n'a': {}", "b: &b {}\n<<: *b\na: 1\na: 2"],
)  # fmt: skip
def test_a_key_given_twice_is_refused_by_name_and_line(text: str) -> None:
    with pytest.raises(
        RequestError, match=r"^study.yaml, line \d: the key a is given twice, also in line \d; keep one$"
    ):
        parse_yaml(text, "study.yaml")


def test_one_and_one_in_quotes_are_the_same_key() -> None:
    with pytest.raises(RequestError, match=r"the key << is given twice.*write << once, with a list: \[\*a, \*b\]"):
        parse_yaml("a: &a {k: 1}\nb: &b {k: 2}\nc: {<<: *a, <<: *b}", "x")
    with pytest.raises(RequestError, match="the key ä is given twice"):
        parse_yaml("ä: 1\na\u0308: 2", "x")
    with pytest.raises(RequestError, match="the key 1 is given twice"):
        parse_yaml("1: a\n'1': b", "x")


@pytest.mark.parametrize(
    "text",
    [
        "a:\n\t- b",
        "a: [",
        "a: 1\n---\nb: 2",
        "a: !!timestamp 2021-01-01",
        "a: !!set {b}",
        "[a]: 1",
        "a: !!python/name:os.system",
        "x: &a [*a]",
        "a: *b",
        "<<: 1",
        "a: &a {<<: [*a, b]}",
    ],
)
def test_what_is_no_yaml_of_ours_is_one_sentence(text: str) -> None:
    with pytest.raises(RequestError, match=r"^f\.yaml, line \d: ") as caught:
        parse_yaml(text, "f.yaml")
    assert "\n" not in str(caught.value)


def test_files_may_have_a_byte_order_mark_and_must_be_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes("\ufeffname: µ".encode())
    assert load_yaml(file) == {"name": "µ"}
    file.write_bytes(b"name: \xb5")
    with pytest.raises(RequestError, match=r"f\.yaml: not a YAML file in UTF-8"):
        load_yaml(file)
    for coding in ("utf-16-le", "utf-16-be"):
        file.write_bytes("\ufeffname: µ".encode(coding))
        assert (load_yaml(file), key_lines(file)) == ({"name": "µ"}, {"name": 1})
    os.mkfifo(tmp_path / "pipe.yaml")  # would be waited for
    for what in (tmp_path, tmp_path / "pipe.yaml", tmp_path / "gone.yaml"):
        with pytest.raises(RequestError, match="cannot be read"):
            load_yaml(what)
    file.write_bytes(b"")
    assert load_yaml(file) is None


class _Names(Model):
    names: list[str] = Field([])
    labels: dict[str, str | None] = Field({})
    one_or_many: str | list[str] = Field([])
    kind: Literal["0", "1e3"] | None = None
    count: int = 0
    rate: float = 0.0
    either: int | str = 0
    anything: Any = None
    numbered: dict[int, str] = Field({})


def test_a_number_is_its_text_where_only_a_name_can_be() -> None:
    text = "names: [0, 010, 1e3, no]\nlabels: {0: 1, yes: 1.50}\none_or_many: [007]\nkind: 1e3"
    found = _Names.model_validate(parse_yaml(text, "x"))
    assert found.names == ["0", "010", "1e3", "no"]
    assert found.labels == {"0": "1", "yes": "1.50"}
    assert found.one_or_many == ["007"]
    assert found.kind == "1e3"
    assert _Names.model_validate({"names": [0, 1.5]}).names == ["0", "1.5"]


def test_a_number_stays_one_where_it_can_be() -> None:
    found = _Names.model_validate(
        parse_yaml("count: 010\nrate: 1e-4\neither: 3\nanything: [2]\nlabels: {a: null}", "x")
    )
    assert (found.count, found.rate, found.either, found.anything, found.labels) == (10, 1e-4, 3, [2], {"a": None})
    copied = pickle.loads(pickle.dumps(parse_yaml("[010]", "x")))
    assert copied[0].text == "010"


@pytest.mark.parametrize("keys", ["{1: a, 01: b}", "{1: a, '1': b, 2: c, 02: d}", "{7: a, +7: b}"])
def test_two_ways_to_write_one_number_are_one_key(keys: str) -> None:
    with pytest.raises((ValidationError, RequestError), match=r"are one number; keep one|is given twice"):
        _Names.model_validate(parse_yaml(f"numbered: {keys}", "x"))
    assert _Names.model_validate(parse_yaml("numbered: {01: a, 2: 3}", "x")).numbered == {1: "a", 2: "3"}


@pytest.mark.parametrize(
    ("text", "name"), [("names: [true]", "true"), ("names: [null]", "null"), ("kind: False", "false")]
)
def test_other_values_are_no_names(text: str, name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} is a value of its own in YAML; .* quotes"):
        _Names.model_validate(parse_yaml(text, "x"))


def test_keys_know_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# a space\nbase: &b {x: 1}\n\n'lr': 3\n<<: *b\ndeep:\n  lr: 4\n")
    assert key_lines(path) == {"base": 2, "lr": 4, "deep": 6}
    path.write_text("[1, 2]\n")
    assert key_lines(path) == {}


@pytest.mark.parametrize("merged", [False, True])
def test_aliases_that_mean_billions_of_values_are_refused(merged: bool) -> None:
    level = "<<: [{}]" if merged else "x: [{}]"
    lines = ["a0: &a0 {k: lol}"]
    lines += [f"a{i}: &a{i} {{{level.format(', '.join([f'*a{i - 1}'] * 10))}}}" for i in range(1, 10)]
    with pytest.raises(
        RequestError, match=r"^study\.yaml, line \d+: the keys are more than 16,777,216 characters with their aliases"
    ):
        parse_yaml("\n".join(lines), "study.yaml")


def test_aliases_that_are_used_as_people_do_are_fine() -> None:
    text = "a: &a {lr: 0.1, deep: &d [1, 2]}\nb: [*a, *a, *d]\n"
    assert parse_yaml(text, "x")["b"] == [{"lr": 0.1, "deep": [1, 2]}] * 2 + [[1, 2]]


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: {c: *a}}", "&a {<<: *a}"])
def test_what_holds_itself_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="the keys hold an alias inside of what it stands for"):
        parse_yaml(text, "study.yaml")


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.yaml", "wb") as file:
        file.truncate(2**34)
    with pytest.raises(RequestError, match=r"a\.yaml: has more than 16,777,216 bytes, which no file of ours needs"):
        load_yaml(tmp_path / "a.yaml")
