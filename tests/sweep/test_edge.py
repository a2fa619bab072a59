import pytest

from raysweep.sweep.edge import at_edge
from raysweep.sweep.space import default_of, load_space

SPACE = {
    "lr": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True, "default": 1e-3},
    "dropout": {"type": "float", "low": 0.0, "high": 0.5, "log": False, "default": 0.1},
    "augment": {"type": "float", "low": 0.0, "high": 1.0, "log": False, "default": 0.5},
    "weight_decay": {"type": "categorical", "values": [1e-2, 0.0, 1e-1], "default": 0.0},
    "head_lr_factor": 3.0,
}


@pytest.mark.parametrize(
    ("params", "edges"),
    [
        ({"lr": 1e-3, "dropout": 0.2, "augment": 0.5, "weight_decay": 1e-2, "head_lr_factor": 3.0}, []),
        ({"lr": 1.5e-5}, ["lr"]),
        ({"lr": 1.7e-5}, []),
        ({"lr": 1e-1, "dropout": 0.49}, ["dropout", "lr"]),
        ({"dropout": 0.0, "augment": 1.0}, []),  # nothing lies beyond
        ({"weight_decay": 1e-1}, ["weight_decay"]),
        ({"weight_decay": 0.0}, []),
    ],
)
def test_ends_beyond_which_better_values_may_lie(params: dict, edges: list) -> None:
    assert at_edge("finetune", "classification", SPACE, params) == edges


def test_whole_numbers_and_words() -> None:
    space = {
        "lr": {"type": "int", "low": 1, "high": 9, "log": False, "default": 1},
        "augment": {"type": "categorical", "values": ["a", "b", "c"], "default": "a"},
        "dropout": {"type": "categorical", "values": [0.1, 0.2], "default": 0.1},
    }
    for value, edges in ((1, ["lr"]), (2, []), (8, []), (9, ["lr"])):
        assert at_edge("finetune", "classification", space, {"lr": value, "augment": "a", "dropout": 0.1}) == edges


def test_no_shipped_default_is_at_an_edge() -> None:
    for protocol, kind in (("finetune", "classification"), ("finetune", "segmentation"), ("linear", "classification")):
        space = load_space(protocol, kind, {}, [])
        assert at_edge(protocol, kind, space, default_of(space)) == []
