"""When a slide is surveyed and read by one task."""

import pytest

from raysweep.slides.one_pass import read_in_one_pass
from raysweep.slides.table.entries import SlideEntry

MB = 10**6


@pytest.mark.parametrize(
    ("n", "space", "nodes", "workers", "one_pass"),
    [
        (4, 400 * MB, 1, None, False),  # all copies stay
        (4, 399 * MB, 1, None, True),
        (3, 399 * MB, 1, None, False),
        (4, 400 * MB, 2, None, True),  # there would be copies on both
        (1, 400 * MB, 2, None, False),  # eight CPUs
        (1, 400 * MB, 2, 2, True),
        (1, 400 * MB, 2, 3, False),
    ],
)
def test_where_it_saves_copies_and_keeps_half_of_the_cpus_busy(monkeypatch, n, space, nodes, workers, one_pass):
    head = {"Alive": True, "Resources": {}}  # and one that is gone: neither reads slides
    alive = [{"Alive": alive, "Resources": {"CPU": 4.0}} for alive in (*[True] * nodes, False)]
    monkeypatch.setattr("ray.nodes", lambda: [head, *alive])
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 4.0 * nodes})
    far = [SlideEntry(f"s{i}", f"s3://slides/s{i}.ndpi?region=us-east-1") for i in range(n)]
    near = [SlideEntry("near", "/slides/near.ndpi"), SlideEntry("file", "file:///slides/file.ndpi")]
    identities = {slide.name: {"identity": {"size": 60 * MB, "files": [{"size": 40 * MB}]}} for slide in [*far, *near]}
    found = read_in_one_pass([*near, *far], identities, space, workers)
    assert found == ({slide.name for slide in far} if one_pass else set())
