import subprocess
import sys

import pytest

from raysweep.backbones.names import check_backbone, check_tag
from raysweep.errors import RequestError


@pytest.mark.parametrize("name", ["resnet18", "resnet50.tv_in1k", "vit_small_patch16_224", "densenet121"])
def test_known_names(name):
    check_backbone(name)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(RequestError, match=r"backbone resnet81: timm has no such model; did you mean .*resnet18"):
        check_backbone("resnet81")


@pytest.mark.parametrize("name", ["resnet18.tv_in1k", "resnet10t.c3_in1k", "vit_small_patch16_224.dino"])
def test_full_tags(name):
    check_tag(name)


@pytest.mark.parametrize(
    ("name", "says"), [("resnet18", "needs the full tag"), ("resnet18.tv", "no weights tagged tv")]
)
def test_weights_need_a_full_tag(name, says):
    with pytest.raises(RequestError, match=rf"backbone {name}: .*{says}.*known: .*resnet18\.tv_in1k"):
        check_tag(name)


def test_a_model_without_published_weights_is_refused():
    with pytest.raises(RequestError, match="no published weights"):
        check_tag("resnet200")


def test_checks_and_reading_import_nothing_heavy():
    code = (
        "import sys\n"
        "from raysweep.backbones.init import check_init\n"
        "from raysweep.backbones.checkpoint import read_info\n"
        "from raysweep.pretrain.inputs import check_method\n"
        "from raysweep.pretrain.spec import CheckpointSpec\n"
        "check_init('timm', 'resnet50.tv_in1k')\n"
        "check_init('random', 'resnet50')\n"
        "check_method(CheckpointSpec(method='simclr', patches='p'))\n"
        "check_method(CheckpointSpec(method='supervised', patches='p'))\n"
        "heavy = {'torch', 'timm', 'ray', 'lightly', 'torchvision'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
