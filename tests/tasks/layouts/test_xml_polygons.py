"""The xml_polygons layout: outlines of ImageScope become numbered objects."""

import numpy as np
import pytest

from raysweep.errors import RequestError
from raysweep.tasks.oddities import find_oddities
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


def annotation(name, *regions):
    attributes = f'<Attributes><Attribute Name="{name}" Id="0" Value=""/></Attributes>'
    return f"<Annotation Id='1' Name='Layer'>{attributes}<Regions>{''.join(regions)}</Regions></Annotation>"


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


MONUSAC = {
    "type": "xml_polygons", "images": "*/*.tif", "mask": "{folder}/{stem}.xml", "unit": "(TCGA-..-....)",
    "names": {"Epithelial": 1, "Lymphocyte": 2, "Macrophage": 3, "Neutrophil": 4, "Ambiguous": 255},
    "masks": {"ignore": 255},
}  # fmt: skip
CLASSES = ["background", "epithelial", "lymphocyte", "macrophage", "neutrophil"]


@pytest.fixture
def monusac(tmp_path, make_card, write_image):
    """A folder per slide, with an SVS that nobody reads, a TIFF and an XML for each image."""

    def index(per_image, classes=CLASSES, **keys):
        for number, annotations in enumerate(per_image):
            slide = f"TCGA-5P-A9K{number}-01Z-00-DX1"
            stem = tmp_path / "toy" / slide / f"{slide}_1"
            write_image(stem.with_suffix(".tif"), 100, (12, 8))
            stem.with_suffix(".svs").write_bytes(b"svs")
            stem.with_suffix(".xml").write_text(f"{HEAD}<Annotations>{''.join(annotations)}</Annotations>")
        return index_task(make_card("segmentation", classes=classes, layout=MONUSAC | keys), tmp_path)

    return index


def test_names_of_annotations_are_classes_and_regions_keep_their_numbers(monusac):
    mixed = [annotation("Epithelial", box(0, 0, 3, 3), box(4, 0, 7, 3)), annotation("Neutrophil", box(8, 0, 11, 3)),
             annotation("Ambiguous", box(0, 4, 3, 7)), annotation("Macrophage"),
             annotation("Lymphocyte", box(4, 4, 7, 7))]  # fmt: skip
    task = monusac([mixed, [annotation("Macrophage", box(1, 1, 5, 4))]])
    assert [sample.unit for sample in task.samples] == ["TCGA-5P-A9K0", "TCGA-5P-A9K1"]
    assert [sample.present for sample in task.samples] == [(0, 1, 2, 4), (0, 3)]
    ids = read_sample(task, 0)[1]
    assert [ids[1, 1], ids[1, 5], ids[1, 9], ids[5, 1], ids[5, 5]] == [1, 1, 4, 255, 2]
    assert np.unique(read_instances(task, 0)).tolist() == [0, 1, 2, 3, 4, 5]
    assert find_oddities(task).passed_by == {".svs": 2}


def test_all_names_may_be_one_class_and_null_leaves_a_name_out(monusac):
    names = MONUSAC["names"] | dict.fromkeys(("Lymphocyte", "Macrophage", "Neutrophil"), 1) | {"Ambiguous": None}
    image = [annotation("Epithelial", box(0, 0, 3, 3)), annotation("Lymphocyte", box(4, 0, 7, 3)),
             annotation("Ambiguous", box(8, 4, 12, 8))]  # fmt: skip
    task = monusac([image], ["background", "nucleus"], names=names)
    assert np.bincount(read_sample(task, 0)[1].ravel()).tolist() == [12 * 8 - 18, 18]
    assert np.unique(read_instances(task, 0)).tolist() == [0, 1, 2]
    other = monusac([image], ["background", "nucleus"], names=names | {"Ambiguous": 255})
    assert other.inputs() != task.inputs()
    again = index_task(other.card, other.root.parent, known=task)
    assert again.samples == other.samples, "what a name means is no part of the file"


def test_a_name_without_a_number_leaves_its_image_out_and_a_bad_number_is_refused(monusac):
    images = [[annotation(name, box(1, 1, 5, 4))] for name in (*MONUSAC["names"], "Ephitelial") if name != "Ambiguous"]
    task = monusac(images)
    [(_, reason)] = task.excluded
    assert "an annotation is named 'Ephitelial' (nearest: Epithelial); give it a number, or null, in layout" in reason
    with pytest.raises(RequestError, match="names: Epithelial: 0: pixel values of regions are at least 1"):
        monusac([[]], names={"Epithelial": 0})
