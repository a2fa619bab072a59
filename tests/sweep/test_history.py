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


def test_the_val_loss_is_that_of_the_evaluation_that_counts() -> None:
    history = History([ASKED, _reported(1, 1.0), _reported(2, 2.0)])
    history.trials[0].evaluations[0]["val_loss"] = 0.1
    assert history.trials[0].val_loss == float("inf")  # not told
    history.apply(TOLD)
    assert history.trials[0].val_loss == 0.4
    failed = TOLD | {"status": "failed", "value": None, "step": None, "reason": "it diverged"}
    assert History([ASKED, _reported(1, 1.0), failed]).trials[0].val_loss == float("inf")


FINAL = {"event": "final", "final": 1, "params": {"lr": 1}, "evaluations": [{"step": 9}],
         "predictions": "parts/x.parquet", "reason": "", "seconds": 2.5}  # fmt: skip


def test_a_final_from_asked_to_done() -> None:
    history = History([ASKED, TOLD])
    assert history.final is None
    history.apply({"event": "asked", "final": 1})
    assert history.final is not None
    assert not history.final.done
    history.apply(FINAL)
    final = history.final
    assert (final.params, final.evaluations, final.predictions) == ({"lr": 1}, [{"step": 9}], "parts/x.parquet")
    assert final.done
    assert final.seconds == 2.5
    history.apply({"event": "asked", "final": 1})
    history.apply(FINAL | {"predictions": "", "reason": "the loss is nan"})
    assert history.final.done  # there is nothing more to come
    assert history.final.seconds == 5.0
    assert history.counts() == {"done": 1, "pruned": 0, "failed": 0, "asked": 0}


def test_a_final_that_was_lost_is_not_done_and_no_trial_failed() -> None:
    history = History([ASKED, TOLD, {"event": "asked", "final": 1}, {"event": "lost", "final": 1, "reason": "gone"}])
    assert history.final is not None
    assert not history.final.done
    assert history.counts() == {"done": 1, "pruned": 0, "failed": 0, "asked": 0}
    history = History([ASKED, {"event": "lost", "trial": 0, "reason": "gone"}])
    assert history.counts() == {"done": 0, "pruned": 0, "failed": 0, "asked": 1}
    assert history.told() == []
