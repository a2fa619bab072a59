from pathlib import Path

import pytest

from raysweep.errors import RequestError
from raysweep.study.load import load_study

_STUDY = """
name: glands
data: ???
patches:
  tissue: {slides: slides.csv, um: 64, px: 128}
checkpoints:
  random: {backbone: resnet18}
  simclr: {backbone: resnet18, method: simclr, patches: tissue}
transfer: {fractions: [0.5, 1.0], trials: 4}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "glands.yaml"
    path.write_text(_STUDY)
    return path


def test_overrides_replace_keys(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = load_study(study, ["transfer.trials=8", "data=images", "transfer.fractions=[0.1,1.0]"])
    assert file.folder == tmp_path
    assert file.study.transfer.trials == 8
    assert file.study.transfer.fractions == [0.1, 1.0]
    assert file.study.data == f"{tmp_path}/images", "data starts from the current directory"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("transfer.trails=8", r"unknown key transfer\.trails; did you mean trials\?"),
        ("tranfer.trials=8", r"unknown key tranfer; did you mean transfer\?"),
        ("checkpoints.simclr.batchsize=8", r"unknown key checkpoints\.simclr\.batchsize; did you mean batch\?"),
        ("patches.tissue.pxl=8", r"unknown key patches\.tissue\.pxl; did you mean px\?"),
        ("transfer.trials=0", r"transfer\.trials: input should be greater than or equal to 1 \(given: 0\)"),
        ("transfer.fractions=[0.0]", r"transfer\.fractions: give distinct fractions"),
        ("checkpoints.simclr.patches=null", r"checkpoints\.simclr: a method needs patches"),
        ("name=a/b", r"name: "),
        ("justaword", r"justaword: not an override; write key=value"),
        ("patches.tissue.um=[", r"glands\.yaml: "),
    ],
)
def test_a_wrong_key_or_value_is_one_sentence(study: Path, override: str, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence) as caught:
        load_study(study, ["data=x", override])
    assert "\n" not in str(caught.value)


def test_a_key_that_must_be_given_is_named(study: Path) -> None:
    with pytest.raises(RequestError, match=r"data is not set; give it as data=VALUE"):
        load_study(study)


def test_files_that_are_no_study(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"nothing\.yaml: no such study file; studies that ship"):
        load_study(tmp_path / "nothing.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    with pytest.raises(RequestError, match="not a YAML file"):
        load_study(broken)
    broken.write_text("- a")
    with pytest.raises(RequestError, match="a study is a mapping"):
        load_study(broken)
