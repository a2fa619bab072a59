import os
import subprocess
import sys
from pathlib import Path

_CODE = """
from pathlib import Path
import raysweep.storage
from raysweep.storage import shipped
assert Path(raysweep.storage.__file__).is_relative_to({target!r}), raysweep.storage.__file__
for folder, name in [("datasets", "glas-grade"), ("search_spaces", "finetune_classification"), ("studies", "demo"),
                     ("studies", "kawai_pcam200")]:
    assert shipped(folder).is_relative_to({target!r}), shipped(folder)
    assert (shipped(folder) / f"{{name}}.yaml").is_file(), name
from raysweep.study.load import load_study
from raysweep.tasks.cards import load_card
study = load_study("demo", ["data=x"]).study
assert [load_card(t, [shipped("datasets")]).name for t in study.tasks] == study.tasks
assert list((Path({target!r}) / "raysweep/report/templates").iterdir())
from raysweep.places.files import dockerfile
assert dockerfile()
from raysweep.backbones.published import find_card
assert find_card("uni2-h").backbone
"""


def test_the_built_wheel_holds_cards_spaces_studies_and_templates(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path), str(root)], check=True
    )
    wheel = next(tmp_path.glob("raysweep-*.whl"))
    target = tmp_path / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True)
    environment = os.environ | {"PYTHONPATH": str(target)}
    code = _CODE.format(target=str(target))
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
