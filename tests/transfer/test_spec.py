import subprocess
import sys

import pytest
from pydantic import ValidationError

from raysweep.transfer.spec import TransferSpec


def test_with_few_units_in_val_the_loss_chooses() -> None:
    spec = TransferSpec()
    assert [spec.select_by(n) for n in (1, 9, 10, 500)] == ["val_loss", "val_loss", "val_metric", "val_metric"]


@pytest.mark.parametrize("select", ["val_loss", "last"])
def test_another_rule_that_was_asked_for_stays(select) -> None:
    assert [TransferSpec(select=select).select_by(n) for n in (1, 10)] == [select] * 2


def test_a_budget_gives_the_keys_that_nobody_has() -> None:
    def keys(**given: object) -> tuple:
        spec = TransferSpec.model_validate(given)
        return spec.repeats, spec.trials, spec.steps, spec.epochs, spec.evaluations

    assert keys() == (6, 8, "auto", None, 8)
    assert keys(budget="light") == (3, 4, 250, None, 4)
    assert keys(budget="full") == (12, 16, "auto", None, 8)
    assert keys(budget="light", repeats=6, evaluations=2) == (6, 4, 250, None, 2)
    assert keys(budget="light", epochs=5) == (3, 4, None, 5, 4), "who names epochs means epochs"
    assert keys(budget="light", epochs=5, steps=40) == (3, 4, 40, 5, 4)
    spec = TransferSpec(budget="light", trials=7)
    assert TransferSpec.model_validate(spec.model_dump()) == spec
    with pytest.raises(ValidationError, match="'light' or 'full'"):
        TransferSpec.model_validate({"budget": "tiny"})


def test_fractions_come_sorted_and_wrong_ones_are_refused() -> None:
    assert TransferSpec(fractions=[1.0, 0.1, 0.5]).fractions == [0.1, 0.5, 1.0]
    for wrong in ([], [0.0], [1.1], [0.5, 0.5]):
        with pytest.raises(ValidationError, match="distinct fractions"):
            TransferSpec(fractions=wrong)


def test_protocols_are_a_list_or_a_list_for_each_kind() -> None:
    assert TransferSpec(protocols=["linear"]).protocols_for("segmentation") == ["linear"]
    by_kind = TransferSpec(protocols={"classification": ["linear", "finetune"]})
    assert by_kind.protocols_for("classification") == ["linear", "finetune"]
    assert by_kind.protocols_for("segmentation") == []
    for twice in (["linear", "linear"], {"classification": ["knn", "knn"]}):  # each repeat would count as two
        with pytest.raises(ValidationError, match="name every protocol once"):
            TransferSpec(protocols=twice)


@pytest.mark.parametrize("key", ["finals", "parallel_per_cell"])
def test_keys_of_old_are_unknown(key: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        TransferSpec.model_validate({key: 2})


def test_a_decoder_is_named() -> None:
    assert TransferSpec().decoder == "auto"
    for choice in ("light", {"type": "deeplabv3", "output_stride": 8}):
        assert TransferSpec(decoder=choice).decoder == choice
    with pytest.raises(ValidationError, match=r"there is no decoder lihgt; did you mean light\?"):
        TransferSpec(decoder="lihgt")


def test_reading_a_spec_imports_no_torch() -> None:
    code = "import sys; from raysweep.transfer.spec import TransferSpec; TransferSpec(decoder='unet'); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_steps_depend_on_the_whole_training_part_and_epochs_on_the_draw() -> None:
    assert [TransferSpec().steps_for(pool, train) for pool, train in ((100, 10), (20_000, 10), (20_000, 20_000))] == [
        500, 1000, 1000,
    ]  # fmt: skip
    assert TransferSpec(steps=70).steps_for(20_000, 10) == 70
    epochs = TransferSpec.model_validate({"epochs": 3, "batch": 8})
    assert epochs.steps is None
    assert [epochs.steps_for(9999, train) for train in (1, 8, 9, 8000)] == [1, 3, 4, 3000]
    both = TransferSpec(epochs=3, steps="auto", batch=8)  # whichever ends first
    assert [both.steps_for(9999, train) for train in (8, 8000)] == [3, 707]


def test_a_budget_is_needed() -> None:
    with pytest.raises(ValidationError, match="give steps, epochs, or both"):
        TransferSpec(steps=None)
    with pytest.raises(ValidationError):
        TransferSpec.model_validate({"steps": "many"})
