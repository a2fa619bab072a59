"""Views of several sizes, and networks that run on them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raysweep.backbones.create import create_backbone
from raysweep.pretrain.multicrop import multi_crop, run_views


def test_views_are_those_of_the_paper():
    first, second, *small = multi_crop(224, n_small=8, crop=0.4, colour=1.0)
    assert (first.px, first.scale, first.blur, first.solarise) == (224, (0.4, 1.0), 1.0, 0.0)
    assert (second.px, second.scale, second.blur, second.solarise) == (224, (0.4, 1.0), 0.1, 0.2)
    assert len(small) == 8
    assert {(view.px, view.scale, view.blur, view.solarise) for view in small} == {(96, (0.05, 0.4), 0.5, 0.0)}
    assert {(v.brightness, v.contrast, v.saturation, v.hue, v.grey) for v in (first, second, *small)} == {
        (0.4, 0.4, 0.2, 0.1, 0.2)
    }


@given(st.integers(16, 1024))
def test_small_views_have_a_multiple_of_16_near_three_sevenths(px):
    edge = multi_crop(px, n_small=1, crop=0.4, colour=0.0)[2].px
    assert edge % 16 == 0
    assert edge >= 16
    assert abs(edge - px * 3 / 7) <= 8 or edge == 16


@pytest.mark.parametrize("patch", [8, 14, 16, 32])
def test_every_plain_transformer_takes_the_small_views(patch):
    vit = create_backbone("test_vit", seed=0, arguments={"patch_size": patch, "img_size": 224, "depth": 1})
    small = multi_crop(224, n_small=1, crop=0.4, colour=0.0)[2].px
    views = [torch.rand(2, 3, 224, 224), torch.rand(2, 3, small, small)]
    features = run_views(vit, views)
    assert features.shape == (4, 64)
    torch.testing.assert_close(features[:2], vit(views[0]))
    if small % patch == 0:
        torch.testing.assert_close(features[2:], vit(views[1]))


def test_a_network_runs_once_for_each_size():
    seen = []

    def network(images):
        seen.append(tuple(images.shape))
        return images.mean((2, 3))

    views = [torch.rand(3, 3, edge, edge) for edge in (32, 32, 16, 16, 16)]
    features = run_views(network, views)
    assert seen == [(6, 3, 32, 32), (9, 3, 16, 16)]
    torch.testing.assert_close(features, torch.cat([view.mean((2, 3)) for view in views]))
