import pytest
from pydantic import ValidationError

from raysweep.errors import RequestError
from raysweep.pretrain.inputs import check_method, checkpoint_inputs, method_names, settings
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.storage import fingerprint


def spec(**keys) -> CheckpointSpec:
    return CheckpointSpec(**{"backbone": "resnet18", "method": "simclr", "patches": "p", **keys})


def print_of(entry: CheckpointSpec, **keys) -> str:
    return fingerprint(
        checkpoint_inputs(entry, **{"seed": 0, "pretraining_seed": 0, "init": "random", "patches": "abc", **keys})
    )


def test_method_names():
    assert method_names() == sorted(method_names())
    assert "simclr" in method_names()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"method": "simcrl"}, "method simcrl: .*did you mean simclr"),
        ({"options": {"temperature": 1}}, "options.temperature: method simclr has no such option; it has .*tau"),
        ({"options": {"tau": -1}}, r"options.tau: .*greater than 0 \(given: -1, method simclr\)"),
        ({"options": {"dim": "wide"}}, "options.dim: should be a whole number"),
    ],
)
def test_bad_methods_and_options(keys, says):
    with pytest.raises(RequestError, match=says):
        check_method(spec(**keys))


def test_no_method_needs_no_check():
    check_method(CheckpointSpec(backbone="resnet18"))
    assert settings(CheckpointSpec(backbone="resnet18")) is None


def test_defaults_are_the_methods_and_scale_with_the_batch():
    chosen = settings(spec(batch=64))
    assert chosen is not None
    assert (chosen.optimizer, chosen.lr) == ("adamw", pytest.approx(1e-3 / 4))
    assert chosen.options["tau"] == 0.1
    given = settings(spec(batch=64, lr=0.5, optimizer="sgd", weight_decay=0.0))
    assert given is not None
    assert (given.optimizer, given.lr, given.weight_decay) == ("sgd", 0.5, 0.0)


def test_a_default_written_out_changes_nothing():
    assert print_of(spec()) == print_of(spec(options={"tau": 0.1}, optimizer="adamw", lr=1e-3))


@pytest.mark.parametrize(
    "other",
    [
        {"backbone": "resnet34"}, {"method": "supervised"}, {"options": {"tau": 0.2}}, {"epochs": 2}, {"steps": 9},
        {"batch": 128}, {"px": 64}, {"schedule": "constant"}, {"warmup": 0.2}, {"clip": 1.0}, {"batch_norm": "reset"},
        {"accumulate": 2, "method": "byol"}, {"precision": "bfloat16"}, {"hed": 0.05}, {"optimizer": "sgd"},
        {"lr": 0.3}, {"weight_decay": 0.3}, {"weight_decay_end": 0.4}, {"licence": "MIT"},
    ],
)  # fmt: skip
def test_what_decides_the_weights_decides_the_fingerprint(other):
    assert print_of(spec(**other)) != print_of(spec())


@pytest.mark.parametrize("other", [{"seed": 1}, {"pretraining_seed": 1}, {"init": "timm:x"}, {"patches": "def"}])
def test_inputs_decide_the_fingerprint(other):
    assert print_of(spec(), **other) != print_of(spec())


@pytest.mark.parametrize("same", [{"seeds": 3}, {"patches": "by-another-name"}, {"init": "by-another-name"}])
def test_names_and_counts_do_not_decide_the_fingerprint(same):
    assert print_of(spec(**same)) == print_of(spec())


def test_keys_of_weights_from_outside_count_where_they_are_set_and_apply():
    plain = CheckpointSpec(backbone="test_vit")
    inputs = checkpoint_inputs(plain, seed=0, pretraining_seed=0, init="random", patches=None)
    assert not {"pool", "mean", "seen", "model_args", "allow_missing", "card"} & inputs.keys()
    same = CheckpointSpec(backbone="test_vit", allow_missing=["norm.*"], model_args={}, seen=[])
    assert print_of(same) == print_of(plain), "nothing can be missing in a random init"
    assert print_of(same, init="file:1:a") != print_of(plain, init="file:1:a")
    for keys in ({"pool": "avg"}, {"std": (1, 1, 1)}, {"seen": ["TCGA"]}, {"model_args": {"depth": 2}}):
        assert print_of(CheckpointSpec(backbone="test_vit", **keys)) != print_of(plain)
    twice = CheckpointSpec(backbone="test_vit", seen=["B", "A", "B"])
    assert print_of(twice) == print_of(CheckpointSpec(backbone="test_vit", seen=["A", "B"]))


def test_sources_have_weights_where_they_are_given():
    assert spec(patches="a").weight_of("a") is None
    assert spec(patches=["a", "b"]).weight_of("b") is None
    shared = spec(patches={"a": 2, "b": 0.5})
    assert (shared.sources, shared.weight_of("a"), shared.weight_of("b")) == (["a", "b"], 2.0, 0.5)
    assert shared.weight_of("a target that joins") == 1.0
    for weight in (0, -1.5):
        with pytest.raises(ValidationError, match=rf"patches.b: a weight is above 0 \(given: {weight}\)"):
            spec(patches={"a": 2, "b": weight})


def test_a_budget_is_in_epochs_or_in_steps():
    by_method = settings(spec())
    assert by_method is not None
    assert (by_method.epochs, by_method.steps) == (100, None)
    by_steps = settings(spec(steps=7))
    assert by_steps is not None
    assert (by_steps.epochs, by_steps.steps) == (None, 7)
    multitask = settings(spec(method="multitask"))
    assert multitask is not None
    assert (multitask.epochs, multitask.steps, multitask.batch_norm) == (None, 50_000, "keep")
    started = settings(spec(method="multitask", init="timm"))
    assert started is not None
    assert started.batch_norm == "recalibrate"  # random weights have no statistics to carry over
    with pytest.raises(ValidationError, match="epochs and steps are both given; keep one"):
        spec(epochs=1, steps=1)


def test_parts_of_a_batch_only_where_they_are_the_same_computation():
    check_method(spec(method="byol", accumulate=4))
    for method in ("simclr", "barlowtwins", "swav"):
        with pytest.raises(RequestError, match=f"accumulate: {method} compares the patches of a batch"):
            check_method(spec(method=method, accumulate=4))
    with pytest.raises(ValidationError, match="accumulate: a batch of 256 cannot be cut into 3 equal parts"):
        spec(accumulate=3)


def test_a_probe_looks_on_and_is_in_no_fingerprint():
    probed = spec(probe={"task": "glas-grade", "every": 2})
    assert probed.probe is not None
    assert spec(probe={"task": "glas-grade"}).probe.every == 5
    assert print_of(probed) == print_of(spec())
    with pytest.raises(ValidationError, match="probe looks on while a method trains: name a method"):
        CheckpointSpec(backbone="resnet18", probe={"task": "glas-grade"})
    with pytest.raises(ValidationError, match="every"):
        spec(probe={"task": "glas-grade", "every": 0})
