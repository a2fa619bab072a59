import pytest

from raysweep.errors import RequestError
from raysweep.pretrain.inputs import check_method, settings
from raysweep.pretrain.presets import _PRESETS, with_preset
from raysweep.pretrain.spec import CheckpointSpec


def spec(method: str, preset: str, **keys) -> CheckpointSpec:
    return CheckpointSpec(backbone="resnet50", method=method, preset=preset, patches="p", **keys)


@pytest.mark.parametrize(("preset", "method"), [(p, m) for p, methods in _PRESETS.items() for m in methods])
def test_every_preset_is_a_training(preset, method):
    check_method(spec(method, preset))
    assert settings(spec(method, preset)) is not None


def test_kawais_byol():
    """Its repository: 40 epochs, LARS at 0.45 for 512 patches, 10 warm-up epochs, decay 1e-6, the mild crop."""
    chosen = settings(spec("byol", "kawai2023", batch=512))
    assert chosen is not None
    assert (chosen.epochs, chosen.optimizer, chosen.lr, chosen.warmup) == (40, "lars", pytest.approx(0.45), 0.25)
    assert chosen.weight_decay == 1e-6
    assert (chosen.options["crop"], chosen.options["momentum"]) == (0.8, 0.99)
    small = settings(spec("byol", "kawai2023", batch=128))
    assert small is not None
    assert small.lr == pytest.approx(0.45 / 4)  # true division, where the repository's gives 0


def test_mormonts_scheme():
    chosen = settings(spec("multitask", "mormont2020"))
    assert chosen is not None
    assert (chosen.steps, chosen.batch, chosen.lr, chosen.schedule) == (50_000, 64, 1e-4, "constant")
    assert (chosen.options["head_lr_factor"], chosen.options["warmup_steps"]) == (5.0, 5_000)


def test_what_the_checkpoint_says_itself_comes_first():
    own = with_preset(spec("simclr", "kawai2023", steps=9, lr=0.1, options={"tau": 0.5}))
    assert (own.steps, own.epochs, own.lr) == (9, None, 0.1)
    assert own.options["tau"] == 0.5
    assert own.options["crop"] == 0.8
    other = settings(spec("simclr", "kawai2023", optimizer="adamw"))
    assert other is not None
    assert other.lr == pytest.approx(1e-3)  # a preset's rate is for its own optimiser


def test_unknown_ones_are_refused():
    with pytest.raises(RequestError, match="preset kawai: there is none of that name; did you mean kawai2023"):
        check_method(spec("byol", "kawai"))
    with pytest.raises(RequestError, match="preset mormont2020: has no settings for byol; it has multitask"):
        check_method(spec("byol", "mormont2020"))
