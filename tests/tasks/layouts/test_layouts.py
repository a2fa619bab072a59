"""The registry of layouts."""

from pathlib import Path

import pytest

import raysweep.tasks.layouts as package
from raysweep.errors import RequestError
from raysweep.tasks.layouts import layout_of, layouts


def test_every_module_of_the_folder_is_a_layout_and_has_a_test():
    modules = {path.stem for path in Path(package.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(layouts()) == modules
    assert {f"test_{name}.py" for name in modules} <= {path.name for path in Path(__file__).parent.iterdir()}


def test_an_unknown_layout_names_the_nearest(make_card):
    with pytest.raises(RequestError, match=r"layout\.type: no layout is called image_folders; there is image_folder"):
        layout_of(make_card(layout={"type": "image_folders"}))
