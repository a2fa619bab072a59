from raysweep.sweep.history import History

ASKED = {"event": "asked", "trial": 0, "params": {"lr": 0.1}}


def _reported(step: int, seconds: float) -> dict:
    return {"event": "reported", "trial": 0, "step": step, "train_loss": 0.5, "val_loss": 0.4, "val_metric": 0.3,
            "seconds": seconds}  # fmt: skip


TOLD = {"event": "told", "trial": 0, "status": "done", "value": 0.3, "step": 2, "reason": "", "seconds": 5.0}


def test_a_trial_from_asked_to_told() -> None:
    history = History([{"event": "opened", "folds": 1}, ASKED, _reported(1, 2.0), _reported(2, 4.0)])
    trial = history.trials[0]
    assert trial.status == "asked"
    assert history.told() == []
    assert trial.seconds == 4.0
    history.apply(TOLD)
    assert history.told() == [trial]
    assert (trial.status, trial.value, trial.step, trial.seconds) == ("done", 0.3, 2, 5.0)
    assert trial.evaluations == [
        {"step": step, "train_loss": 0.5, "val_loss": 0.4, "val_metric": 0.3} for step in (1, 2)
    ]


def test_what_a_dead_attempt_reported_does_not_count_but_its_seconds_do() -> None:
    for again in (ASKED, {"event": "lost", "trial": 0, "reason": "killed"}):
        history = History([ASKED, _reported(1, 2.0), again, _reported(1, 3.0), TOLD])
        assert len(history.trials[0].evaluations) == 1
        assert history.trials[0].seconds == 2.0 + 5.0


def test_finals_and_counts() -> None:
    done = {"event": "final", "final": 1, "params": {"lr": 1}, "n_images": 9, "n_units": 3,
            "predictions": "predictions/x.parquet", "seconds": 2.5}  # fmt: skip
    history = History([ASKED, TOLD, {"event": "asked", "final": 0}, {"event": "asked", "final": 1}, done])
    assert history.finals[1].predictions == "predictions/x.parquet"
    assert history.finals[1].seconds == 2.5
    assert history.counts() == {"done": 1, "pruned": 0, "failed": 0, "asked": 0, "finals": 1, "finals_asked": 1}
