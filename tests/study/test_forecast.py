import pytest

from raysweep.study.forecast import (
    evaluation_seconds,
    features_seconds,
    final_seconds,
    pretraining_seconds,
    search_clock,
    training_seconds,
    trial_bytes,
    trial_seconds,
)
from raysweep.transfer.speed_record import PictureCost, PretrainingSpeed, Speed

SPEED = Speed(inference=0.01, training=0.03, step=0.2, start=0.5, parameters=1000, kept_bytes=50, adapters=10)
HELD = PictureCost(decode=0.1, windows=6, megapixels=0.5, held=1.0)
DECODED = PictureCost(decode=0.1, windows=6, megapixels=0.5, held=0.0)


def test_a_trial_is_its_steps_its_looks_and_its_start() -> None:
    training = training_seconds(SPEED, HELD, steps=100, batch=8, adapters=False)
    assert training == pytest.approx(100 * (8 * 0.03 + 0.2), rel=0.01)
    look = evaluation_seconds(SPEED, HELD, 40, classes=2, masks=False)
    assert look == pytest.approx(40 * 6 * 0.01)
    whole = trial_seconds(training, look, evaluations=5, share=(1.0, 1.0), start=0.5)
    assert whole == pytest.approx(training + 5 * look + 0.5, rel=0.01)
    stopped = trial_seconds(training, look, evaluations=5, share=(0.5, 0.8), start=0.5)
    assert whole - stopped == pytest.approx(0.5 * training + 0.2 * 5 * look)
    assert final_seconds(training, look, 7.0, evaluations=5, start=0.5) == pytest.approx(whole + 7)


def test_pictures_that_are_not_held_are_decoded_each_time() -> None:
    def more(of: object) -> float:
        return of(DECODED) - of(HELD)  # type: ignore[operator]

    assert more(lambda p: training_seconds(SPEED, p, steps=10, batch=8, adapters=False)) == pytest.approx(8.0)
    assert more(lambda p: evaluation_seconds(SPEED, p, 40, classes=2, masks=False)) == pytest.approx(4.0)
    assert more(lambda p: features_seconds(SPEED, p, 100)) == pytest.approx(10.0)


def test_masks_are_put_together_and_counted() -> None:
    plain = evaluation_seconds(SPEED, HELD, 40, classes=2, masks=False)
    two, four = (evaluation_seconds(SPEED, HELD, 40, classes=c, masks=True) - plain for c in (2, 4))
    assert two > 0
    assert four == pytest.approx(2 * two)


def test_the_clock_waits_for_all_and_for_the_longest_chain() -> None:
    assert search_clock([], 2) == 0
    nothing = search_clock([(1e-9, 1)], 2)
    assert search_clock([(10.0, 8)], 2) - nothing == pytest.approx(40)
    assert search_clock([(100.0, 1), (10.0, 2)], 4) - nothing == pytest.approx(100)


def test_workers_share_the_patches_and_each_has_an_optimiser() -> None:
    speed = PretrainingSpeed(patch=0.01, step=0.1)
    one, two = (pretraining_seconds(speed, patches=6400, steps=100, workers=n) for n in (1, 2))
    assert one == pytest.approx(6400 * 0.01 + 100 * 0.1, abs=10)
    assert two - one == pytest.approx(100 * 0.1, abs=10)


def test_memory_is_weights_states_and_what_a_batch_keeps() -> None:
    assert trial_bytes(SPEED, batch=8, adapter_rank=None, half=False) == 20 * 1000 + 8 * 50
    assert trial_bytes(SPEED, batch=8, adapter_rank=4, half=False) == 4 * 1000 + 20 * 40 + 8 * 50
    assert trial_bytes(SPEED, batch=8, adapter_rank=None, half=True) == pytest.approx(20 * 1000 + 0.6 * 8 * 50)
