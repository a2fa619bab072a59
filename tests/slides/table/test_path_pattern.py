"""Globs whose braces fill columns."""

import glob
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep.errors import RequestError
from raysweep.slides.table.path_pattern import PathPattern


@pytest.mark.parametrize(
    ("pattern", "path", "columns"),
    [
        ("{split}/{label}/*.jpg", "train/benign/a.jpg", {"split": "train", "label": "benign"}),
        ("{split}/{label}/*.jpg", "train/a.jpg", None),
        ("{split}/{label}/*.jpg", "train/benign/deep/a.jpg", None),
        ("{label}_{n}_*.png", "b_1_x_y.png", {"label": "b", "n": "1"}),
        ("{label}_*.png", "_x.png", None),  # a column is never empty
        ("*_{label}.png", "a_b_c.png", {"label": "c"}),
        ("{patient}/{patient}-{slide}.tif", "p1/p1-a.tif", {"patient": "p1", "slide": "a"}),
        ("{patient}/{patient}-{slide}.tif", "p1/p2-a.tif", None),
        ("{a}+{a}.tif", "x+y+x+y.tif", {"a": "x+y"}),
        ("{a}+{a}.tif", "x+y.tif", None),
        ("{patient}_{n}/{patient}.png", "p_1_2/p_1.png", {"patient": "p_1", "n": "2"}),
        ("**/{label}/?.png", "x/y/z/a.png", {"label": "z"}),
        ("**/{label}/?.png", "z/a.png", {"label": "z"}),
        ("data/**", "data/x/a.png", {}),
        ("{label}/*.png", ".hidden/a.png", None),
        ("{label}/{slide}.png", "x/.hidden.png", None),
        (".{label}/*.png", ".x/a.png", {"label": "x"}),
        ("[{]{label}[}].png", "{x}.png", {"label": "x"}),
        ("{tissue type}/[ab]*.png", "large bowel/b1.png", {"tissue type": "large bowel"}),
        ("{label}.png", "a\nb.png", {"label": "a\nb"}),
        ("a[.png", "a[.png", {}),
    ],
)
def test_columns(pattern, path, columns):
    assert PathPattern(pattern, "slides").columns(path) == columns


def test_what_is_fixed_and_the_glob():
    pattern = PathPattern("/data/set/{split}/[{]x/*_{label}.png", "slides")
    assert pattern.fixed == 3
    assert pattern.glob == "/data/set/*/[{]x/*_*.png"
    assert PathPattern("/data/a.svs", "slides").fixed == 3


_MALFORMED = ["{label/*.png", "label}/*.png", "{a{b}}.png", "{a/b}.png", "}{.png", "{}/a", "{path}.png", "{#}.png",
              "{ }/x.png", "{a.b}.png"]  # fmt: skip


@pytest.mark.parametrize("pattern", _MALFORMED)
def test_a_malformed_brace_is_one_sentence(pattern):
    with pytest.raises(RequestError, match=r"^slides x: (a brace has no partner|\{.*\} names no column)"):
        PathPattern(pattern, "slides x")


_NAMES = st.text("ab.1", min_size=1, max_size=3).filter(lambda name: set(name) != {"."})


@given(
    st.lists(st.lists(_NAMES, min_size=1, max_size=3), min_size=1, max_size=8),
    st.lists(
        st.sampled_from(["*", "**", "?", "a*", "*1", "[ab]*", "[!a]?", "*.*", ".*", ".a*", "a"]), min_size=1, max_size=3
    ),
)
def test_without_columns_it_is_a_glob(tmp_path_factory, files, parts):
    folder = tmp_path_factory.mktemp("glob")
    for name in files:
        path = folder.joinpath(*name)
        if not any((folder.joinpath(*name[:n])).is_file() for n in range(1, len(name))) and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    pattern = "/".join(parts)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    found = glob.glob(pattern, root_dir=folder, recursive=True)
    globbed = {
        name for name in found if Path(folder, name).is_file() and name[-1] != "/"
    }  # a/** finds the file a as a/
    made = PathPattern(pattern, "slides")
    assert {name for name in there if made.columns(name) is not None} == globbed
