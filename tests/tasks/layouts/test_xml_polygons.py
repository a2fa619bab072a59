"""The xml_polygons layout: outlines of ImageScope become numbered objects."""

import numpy as np
import pytest

from raysweep.errors import RequestError
from raysweep.tasks.read import read_instances, read_sample
from raysweep.tasks.task import index_task

HEAD = '<?xml version="1.0"?>\n'


def region(*points, negative=0):
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    return f'<Region Id="1" NegativeROA="{negative}"><Attributes/><Vertices>{vertices}</Vertices></Region>'


def box(left, top, right, bottom, **keys):
    return region((left, top), (right, top), (right, bottom), (left, bottom), **keys)


def document(*regions):
    return f"{HEAD}<Annotations MicronsPerPixel='0.25'><Annotation Id='1'><Regions>{''.join(regions)}</Regions></Annotation></Annotations>"  # noqa: E501


@pytest.fixture
def indexed(tmp_path, make_card, write_image):
    def index(*documents):
        for number, text in enumerate(documents):
            write_image(tmp_path / f"toy/Tissue Images/TCGA-{number}.tif", 100, (12, 8))
            (tmp_path / "toy/Annotations").mkdir(exist_ok=True)
            (tmp_path / f"toy/Annotations/TCGA-{number}.xml").write_text(text)
        return index_task(make_card("segmentation", layout={"type": "xml_polygons"}, unit="image"), tmp_path)

    return index


def test_an_outline_fills_what_is_inside_it_and_the_later_one_wins(indexed):
    task = indexed(document(box(1, 1, 5, 4), region((1, 1), (2, 2)), box(4, 3, 9, 7), box(6, 4, 8, 6, negative=1)))
    expected = np.zeros((8, 12), np.int32)
    expected[1:4, 1:5] = 1
    expected[3:7, 4:9] = 3  # the second region is a line
    expected[4:6, 6:8] = 0
    got = read_instances(task, 0)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(read_sample(task, 0)[1], expected > 0)


def test_outlines_may_leave_the_image_and_be_slanted(indexed):
    task = indexed(document(region((-5, -5), (20.2, -5), (-5, 20.2)), box(10.4, 6.4, 40, 40)))
    got = read_instances(task, 0)
    y, x = np.mgrid[:8, :12] + 0.5
    np.testing.assert_array_equal((got == 1)[:6], (x + y < 15.2)[:6])
    np.testing.assert_array_equal(got == 2, (x > 10.4) & (y > 6.4))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (document(), "it has no Region: nothing is outlined in it"),
        (f"{HEAD}<ASAP_Annotations/>", "it is no XML of ImageScope: it starts with ASAP_Annotations"),
        (document(box(1, 1, 5, 4))[:-30], "it is no XML"),
        (document(region(("a", 1))), "a vertex of region 1 has no X and Y that are numbers"),
        ('<!DOCTYPE a [<!ENTITY b "cccccccccc">]>' + document(box(1, 1, 5, 4))[len(HEAD) :],
         "it declares a document type or entities"),
    ],
)  # fmt: skip
def test_files_that_outline_nothing_are_left_out_and_said(indexed, text, says):
    task = indexed(document(box(1, 1, 5, 4)), text)
    [(name, reason)] = task.excluded
    assert name == "Tissue Images/TCGA-1.tif"
    assert says in reason


def test_a_set_without_regions_is_refused(indexed):
    with pytest.raises(RequestError, match=r"no image below .* can be used .*it has no Region"):
        indexed(document(), document())
