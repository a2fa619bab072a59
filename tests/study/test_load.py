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
        ("patches.tissue.um=[", r"patches\.tissue\.um=\[, line 1: not YAML"),
        ("transfer={trials: 1, trials: 2}", "the key trials is given twice"),
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
    with pytest.raises(RequestError, match=r"broken\.yaml, line 1: not YAML"):
        load_study(broken)
    broken.write_text("- a")
    with pytest.raises(RequestError, match="a study is a mapping"):
        load_study(broken)


def _write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_a_study_extends_another(study: Path, tmp_path: Path) -> None:
    own = _write(
        tmp_path,
        "own.yaml",
        """
name: own
question: Is it worth it?
extends: glands.yaml
data: images
patches: {tissue: {um: 32}}
checkpoints: {simclr: null, other: {backbone: resnet34}}
transfer: {fractions: [1.0], trials: null}
""",
    )
    file = load_study(own, ["transfer.repeats=2"])
    found = file.study
    assert (found.name, found.question) == ("own", "Is it worth it?")
    assert (found.patches["tissue"].um, found.patches["tissue"].px) == (32, 128), "mappings merge, scalars replace"
    assert list(found.checkpoints) == ["random", "other"], "null removes"
    assert found.transfer.fractions == [1.0], "lists replace"
    assert (found.transfer.trials, found.transfer.repeats) == (8, 2), "a removed key has its default"
    assert found.patches["tissue"].slides == "slides.csv"
    assert file.folders == (tmp_path,)


def test_what_is_extended_may_be_named_without_its_ending(study: Path, tmp_path: Path) -> None:
    assert load_study(_write(tmp_path, "own.yaml", "name: own\nextends: glands\ndata: d\n")).study.checkpoints
    shipped = _write(tmp_path, "glas.yaml", "name: own\nextends: glas\ndata: /d\n")
    assert load_study(shipped).study.tasks, "a file that is called like a study that ships extends that one"


def test_a_path_starts_from_the_folder_of_the_file_that_wrote_it(tmp_path: Path) -> None:
    above, below = tmp_path / "above", tmp_path / "below"
    _write(above, "w.safetensors", "")
    _write(
        above,
        "base.yaml",
        """
name: base
data: /images
patches:
  near: {slides: "slides/*.svs", um: 64, px: 64, root: there}
  far: {slides: s3://bucket/slides.csv, um: 64, px: 64}
  given: {slides: "${data}/slides.csv", um: 64, px: 64}
checkpoints:
  file: {backbone: resnet18, init: w.safetensors}
  word: {backbone: resnet18, init: random}
  other: {init: study:one/two}
  seen: {backbone: resnet18, method: simclr, patches: ../other/patches/p}
  name: {backbone: resnet18, method: simclr, patches: near}
  many: {backbone: resnet18, method: simclr, patches: {../other/patches/p: 2, near: 1}}
""",
    )
    file = load_study(_write(below, "own.yaml", "name: own\nextends: ../above/base.yaml\n"))
    found = file.study
    assert found.patches["near"].slides == f"{above}/slides/*.svs"
    assert found.patches["near"].root == f"{above}/there"
    assert found.patches["far"].slides == "s3://bucket/slides.csv"
    assert found.patches["given"].slides == "/images/slides.csv"
    inits = {name: spec.init for name, spec in found.checkpoints.items()}
    assert (inits["file"], inits["word"], inits["other"]) == (f"{above}/w.safetensors", "random", "study:one/two")
    assert found.checkpoints["seen"].patches == f"{above}/../other/patches/p"
    assert found.checkpoints["name"].patches == "near"
    assert found.checkpoints["many"].patches == {f"{above}/../other/patches/p": 2, "near": 1}
    assert file.folders == (below, above), "cards and spaces are looked up beside both"


def test_a_shipped_study_can_be_extended(tmp_path: Path) -> None:
    found = load_study(_write(tmp_path, "own.yaml", "name: own\nextends: glas\ndata: /d\n")).study
    assert (found.name, list(found.tasks)) == ("own", ["glas-grade", "glas-glands"])
    assert Path(found.patches["tissue64"].slides).is_file()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("extends: glands.yaml\n", r"own\.yaml: name is missing; a study that extends"),
        ("name: own\nextends: gone.yaml\n", r"own\.yaml: extends: gone\.yaml: no such study file"),
        ("name: own\nextends: own.yaml\n", r"in a loop \(own\.yaml -> own\.yaml\)"),
        ("name: own\nextends: [a]\n", r"extends: name one study"),
    ],
)
def test_what_cannot_be_extended_is_one_sentence(study: Path, tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        load_study(_write(tmp_path, "own.yaml", text))


def test_a_long_loop_names_its_files(tmp_path: Path) -> None:
    for name, other in ("ab", "bc", "ca"):
        _write(tmp_path, f"{name}.yaml", f"name: {name}\nextends: {other}.yaml\n")
    with pytest.raises(RequestError, match=r"a\.yaml -> b\.yaml -> c\.yaml -> a\.yaml"):
        load_study(tmp_path / "a.yaml")


def test_limits_of_a_run_and_named_spaces_are_read(study: Path) -> None:
    keys = ["data=x", "compute.stop_after_hours=0.5", "compute.stop_after_trials=40", "transfer.sampler=grid",
            "transfer.spaces.finetune_classification=mormont2020"]  # fmt: skip
    made = load_study(study, keys).study
    assert (made.compute.stop_after_hours, made.compute.stop_after_trials) == (0.5, 40)
    assert made.transfer.spaces == {"finetune_classification": "mormont2020"}
    assert made.transfer.sampler == "grid"
    for key in ("compute.stop_after_hours=0", "compute.stop_after_trials=0", "transfer.sampler=guess",
                "compute.prices.cpu=1e7"):  # fmt: skip
        with pytest.raises(RequestError, match=key.partition("=")[0]):
            load_study(study, ["data=x", key])


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("compute.cpus=true", "compute: cpus: true is no number"),
        ("compute.save_minutes=false", "compute: save_minutes: false is no number"),
        ("compute.least_workers=3", "compute: least_workers: 3 is more than workers, 2"),
    ],
)
def test_numbers_that_are_none_or_contradict_each_other(study: Path, key: str, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        load_study(study, ["data=x", key])
