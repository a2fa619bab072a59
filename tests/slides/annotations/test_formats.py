"""Annotation files: every format, and files that are wrong."""

import json
import os

import numpy as np
import pytest
import scipy.io
import shapely
from shapely.geometry import LineString, Point

from raysweep.errors import WorkError
from raysweep.slides.annotations.formats import annotation_formats, read_annotations

from ..labels.makers import polygon, square, write_asap, write_camelyon, write_qupath

SQUARE = square(10, 20, 30, 60)
BOW_TIE = [[0, 0], [10, 10], [10, 0], [0, 10]]  # two triangles of 25 each


def test_every_suffix_has_a_reader():
    assert set(annotation_formats()) == {".csv", ".geojson", ".json", ".mat", ".xml"}


def test_qupath_classes_holes_and_parts(tmp_path):
    path = write_qupath(
        tmp_path / "a.geojson",
        [
            ("Tumor", "Polygon", polygon(square(0, 0, 10, 10), square(2, 2, 4, 4))),
            (None, "MultiPolygon", [polygon(square(0, 0, 1, 1)), polygon(square(5, 5, 7, 7))]),
            ("Cell", "Point", [3.5, 4.5]),
            ("Cell", "MultiPoint", [[1, 2], [3, 4]]),
            ("Ruler", "LineString", [[0, 0], [3, 4]]),
        ],
    )
    shapes = read_annotations(path)
    assert [shape.name for shape in shapes] == ["Tumor", "Unclassified", "Cell", "Cell", "Cell", "Ruler"]
    assert [shape.geometry.area for shape in shapes] == [96, 5, 0, 0, 0, 0]
    assert [shape.geometry for shape in shapes[2:5]] == [Point(3.5, 4.5), Point(1, 2), Point(3, 4)]
    assert shapes[5].geometry.length == 5


@pytest.mark.parametrize(
    ("classification", "name"),
    [
        ({"name": "Tumor", "colorRGB": -65536}, "Tumor"),
        ({"names": ["Tumor", "Positive"]}, "Tumor: Positive"),
        ("Tumor", "Tumor"),
        ({"name": None}, "Unclassified"),
        (None, "Unclassified"),
    ],
)
def test_qupath_classes_of_all_versions(tmp_path, classification, name):
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": polygon(SQUARE)},
        "properties": {"classification": classification, "name": "my drawing"},
    }
    for index, data in enumerate((feature, [feature], {"type": "FeatureCollection", "features": [feature]})):
        path = tmp_path / f"{index}.json"
        path.write_bytes(b"\xef\xbb\xbf" + json.dumps(data).encode())  # a byte-order mark does not matter
        (shape,) = read_annotations(path)
        assert (shape.name, shape.geometry.bounds) == (name, (10, 20, 30, 60))


@pytest.mark.parametrize("test", [False, True])
def test_camelyon_groups(tmp_path, test):
    path = write_camelyon(tmp_path / "a.xml", [SQUARE, square(0, 0, 5, 5)], [square(12, 22, 14, 24)], test=test)
    shapes = read_annotations(path)
    names = ["Tumor", "Tumor", "Exclusion"] if test else ["_0", "_1", "_2"]
    assert [shape.name for shape in shapes] == names
    assert [shape.geometry.area for shape in shapes] == [800, 25, 4]


def test_asap_types(tmp_path):
    kinds = ["Polygon", "Rectangle", "Spline", "Dot", "PointSet", "Measurement"]
    points = {"Dot": [[1, 2]], "PointSet": [[1, 2], [3, 4]], "Measurement": [[0, 0], [3, 4]]}
    path = write_asap(tmp_path / "a.xml", [("g", points.get(kind, SQUARE), kind) for kind in kinds])
    shapes = read_annotations(path)
    assert [shape.geometry.area for shape in shapes] == [800, 800, 800, 0, 0, 0, 0]
    assert [shape.geometry for shape in shapes[3:6]] == [Point(1, 2), Point(1, 2), Point(3, 4)]
    assert shapes[6].geometry.length == 5


def test_asap_points_stand_by_their_order(tmp_path):
    path = write_asap(tmp_path / "a.xml", [("g", [[0, 0], [10, 0], [10, 10], [0, 10]])])
    text = path.read_text()
    lines = [line for line in text.splitlines() if "<Coordinate " in line]
    path.write_text(text.replace("\n".join(lines), "\n".join([lines[2], lines[0], lines[3], lines[1]])))
    assert read_annotations(path)[0].geometry.area == 100


def test_a_contour_that_crosses_itself_keeps_what_it_goes_round(tmp_path):
    # Once round a square and once more round its lower left quarter: drawn twice, still inside.
    twice = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0], [5, 0], [5, 5], [0, 5]]
    for path in (
        write_asap(tmp_path / "a.xml", [("g", BOW_TIE), ("g", twice)]),
        write_qupath(
            tmp_path / "a.json", [("g", "Polygon", polygon(BOW_TIE)), ("g", "MultiPolygon", [polygon(twice)])]
        ),
    ):
        shapes = read_annotations(path)
        assert all(shape.geometry.is_valid for shape in shapes)
        assert [shape.geometry.area for shape in shapes] == pytest.approx([50, 100])


@pytest.mark.parametrize("points", [[], [[5, 5]], [[5, 5], [9, 5]], [[0, 0], [4, 4], [8, 8]], [[0, 0], [1, 1], [0, 0]]])
def test_a_contour_without_an_area_is_a_line(tmp_path, points):
    (asap,) = read_annotations(write_asap(tmp_path / "a.xml", [("g", points)]))
    (qupath,) = read_annotations(write_qupath(tmp_path / "a.json", [("g", "Polygon", [points])]))
    for shape in (asap, qupath):
        assert isinstance(shape.geometry, LineString)
        assert shape.geometry.is_empty == (not points)


def test_random_scribbles_are_valid(tmp_path):
    rng = np.random.default_rng(0)
    path = write_asap(tmp_path / "a.xml", [("g", rng.normal(0, 100, (40, 2)).tolist()) for _ in range(30)])
    for shape in read_annotations(path):
        assert shape.geometry.is_valid
        assert shapely.get_type_id(shape.geometry) in (3, 6)  # Polygon, MultiPolygon
        assert shape.geometry.area > 0


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.txt", "", r"no format has the suffix \.txt: \.csv, \.geojson, \.json, \.mat, \.xml"),
        ("a.json", "{", "is no JSON"),
        ("a.json", '{"regions": []}', "is no GeoJSON"),
        ("a.json", "[1]", r"features\[0\]: is no GeoJSON feature"),
        ("a.json", '[{"type": "Feature", "geometry": {"type": "Point", "coordinates": [NaN, 1]}}]', "is not finite"),
        ("a.json", '[{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1e999, 1]}}]', "is not finite"),
        (
            "a.json",
            f'[{{"type": "Feature", "geometry": {{"type": "Point", "coordinates": [1{"0" * 400}, 1]}}}}]',
            "features",
        ),
        ("a.json", '[{"type": "Feature", "geometry": {"type": "Ball", "coordinates": []}}]', "geometry is a Ball"),
        ("a.json", '[{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[1, 2]]}}]', r"features\[0\]"),
        ("a.json", "[" * 100_000, "is no JSON"),
        ("a.xml", "", "is no plain XML"),
        ("a.xml", "<ASAP_Annotations><Annotations>", "is no plain XML .*line 1"),
        ("a.xml", "<Annotations/>", "its root is Annotations, not ASAP_Annotations"),
        (
            "a.xml",
            '<ASAP_Annotations><Annotations><Annotation Name="x" Type="Polygon"/></Annotations></ASAP_Annotations>',
            r"annotation 0 \(x\): has no 'PartOfGroup'",
        ),
        (
            "a.xml",
            '<ASAP_Annotations><Annotations><Annotation Name="x" Type="Blob" PartOfGroup="g"/></Annotations>'
            "</ASAP_Annotations>",
            "Type is Blob",
        ),
    ],
)
def test_a_wrong_file_is_named_with_the_place(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(WorkError, match=says) as caught:
        read_annotations(path)
    assert str(caught.value).startswith(f"annotations {path}: ")


@pytest.mark.parametrize("x", ["nan", "inf", "1e300", "1,5,5", ""])
def test_a_coordinate_that_is_no_number_is_refused(tmp_path, x):
    path = write_asap(tmp_path / "a.xml", [("g", SQUARE)])
    path.write_text(path.read_text().replace('X="10"', f'X="{x}"'))
    with pytest.raises(WorkError, match=r"annotation 0 \(Annotation 0\): "):
        read_annotations(path)


def test_entities_are_refused_before_they_grow(tmp_path):
    path = tmp_path / "a.xml"
    bomb = "".join(f'<!ENTITY b{i} "{f"&b{i - 1};" * 10}">' for i in range(1, 9))
    path.write_text(f'<!DOCTYPE x [<!ENTITY b0 "b">{bomb}]><ASAP_Annotations>&b8;</ASAP_Annotations>')
    with pytest.raises(WorkError, match="it has a DOCTYPE"):
        read_annotations(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WorkError, match=r"none\.xml: cannot be read \(No such file"):
        read_annotations(tmp_path / "none.xml")


def _feature(geometry, **properties):
    return {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": "g"}, **properties}}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("geometry", "areas"),
    [
        (None, []),
        ({"type": "GeometryCollection", "geometries": []}, []),
        ({"type": "Polygon", "coordinates": polygon(SQUARE)}, [800]),
        (
            {
                "type": "GeometryCollection",
                "geometries": [
                    {"type": "Polygon", "coordinates": polygon(SQUARE)},
                    {"type": "LineString", "coordinates": [[0, 0], [5, 5]]},
                    {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": polygon(SQUARE)}]},
                ],
            },
            [800, 0, 800],
        ),
    ],
)
def test_what_has_no_area_does_no_harm(tmp_path, geometry, areas, whole):
    """Features without geometry, collections, and measurements that are no numbers beside good coordinates."""
    measurements = {"Area": float("nan"), "list": [{"name": "Max", "value": float("-inf")}]}
    features = [_feature(geometry, measurements=measurements), {"type": "Feature"}]
    (tmp_path / "a.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": features} if whole else features)
    )
    assert [shape.geometry.area for shape in read_annotations(tmp_path / "a.json")] == areas


def test_points_of_a_table(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\ufeffclass, x, y, score\nmitosis, 10, 20.5, 0.9\nnot_mitosis,3,4,0.1\n", encoding="utf-8")
    assert [(s.name, s.geometry) for s in read_annotations(path)] == [
        ("mitosis", Point(10, 20.5)), ("not_mitosis", Point(3, 4))]  # fmt: skip
    path.write_text("x,y,class\n")
    assert read_annotations(path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10,20\n", r"a\.csv: has no column x; a table of points begins with x,y,class"),
        ("x,y,class\n1,2,a\nfive,6,a\n", r"row 3: x and y are numbers of pixels, not 'five' and '6'"),
        ("x,y,class\n1,,a\n", r"row 2: x and y are numbers of pixels, not '1' and ''"),
        ("x,y,class\n1\n", r"row 2: x and y are numbers"),
        ("x,y,class\n1,inf,a\n", r"row 2: a coordinate is not finite"),
        ("x,y,class\n1,2,\n", r"row 2: class is empty"),
    ],
)
def test_tables_that_are_no_points(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(WorkError, match=message):
        read_annotations(path)


def test_points_of_matlab_files(tmp_path):
    path = tmp_path / "img1_inflammatory.mat"
    scipy.io.savemat(path, {"detection": np.array([[10.5, 20], [3, 4]])})
    assert [(s.name, s.geometry) for s in read_annotations(path)] == [
        ("detection", Point(10.5, 20)), ("detection", Point(3, 4))]  # fmt: skip
    scipy.io.savemat(path, {"detection": np.zeros((0, 0))})
    assert read_annotations(path) == []


@pytest.mark.parametrize("value", [np.zeros((2, 3)), np.array([[1, np.nan]]), np.array(["a"])])
def test_matlab_files_that_are_no_points(tmp_path, value):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"detection": value})
    with pytest.raises(WorkError, match=r"a\.mat: detection is no list of x and y"):
        read_annotations(path)
    path.write_bytes(b"no MATLAB file")
    with pytest.raises(WorkError, match=r"a\.mat: is no MATLAB file that can be read"):
        read_annotations(path)


def _nested(depth: int, inner: str) -> str:
    return '{"type": "GeometryCollection", "geometries": [' * depth + inner + "]}" * depth


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10**6,
        "[" * 10**5 + "]" * 10**5,
        _nested(2000, '{"type": "Point", "coordinates": [1, 2]}'),
        '{"type": "Polygon", "coordinates": [[[1e308, 1e308], [-1e308, 1e308], [0, -1e308], [1e308, 1e308]]]}',
        '{"type": "Polygon", "coordinates": [[["\ud800", 1]]]}'.encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
    ids=["open", "deep", "collections", "far", "odd"],
)
def test_what_is_made_to_do_harm_ends_as_a_sentence_or_as_shapes(tmp_path, text):
    path = tmp_path / "a.geojson"
    path.write_text(text, encoding="latin-1")
    said = f"annotations {path}: "
    try:
        read_annotations(path)
    except WorkError as error:
        said = str(error)
    assert said.startswith(f"annotations {path}: ")
    assert len(said) < 2000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.geojson", '{"type": "FeatureCollection", "features": [' + ",".join(["[]"] * 10**5) + "]}"),
        ("a.xml", "<ASAP_Annotations>" + "<a/>" * 10**5 + "</ASAP_Annotations>"),
    ],
)
def test_files_that_grow_in_memory_are_refused_before_they_do(tmp_path, monkeypatch, name, text):
    """As on a machine of 8 MB: the text itself would fit."""
    (tmp_path / name).write_text(text)
    assert (tmp_path / name).stat().st_size < 5 * 10**5
    monkeypatch.setattr(os, "sysconf", lambda what: {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 8 * 10**6}[what])
    with pytest.raises(WorkError, match=r"to read it takes about 0\.0 GiB of memory, more than half of this machine's"):
        read_annotations(tmp_path / name)


def test_a_cell_without_end_is_no_table(tmp_path):
    (tmp_path / "a.csv").write_text('x,y,class\n1,2,"' + "a" * 10**6)
    with pytest.raises(WorkError, match=r"line 2: is not CSV \(field larger than field limit"):
        read_annotations(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("holes", "area"),
    [
        ([square(200, 0, 300, 100)], 10_000),
        ([square(50, 50, 150, 150)], 7_500),
        ([square(10, 10, 50, 50), square(30, 30, 70, 70)], 10_000 - 2 * 1_600 + 400),
        ([square(-10, -10, 110, 110)], 0),
    ],
    ids=["elsewhere", "half elsewhere", "over each other", "larger"],
)
def test_a_hole_takes_away_and_adds_nothing(tmp_path, holes, area):
    path = write_qupath(tmp_path / "a.json", [("g", "Polygon", polygon(square(0, 0, 100, 100), *holes))])
    (shape,) = read_annotations(path)
    assert shape.geometry.area == pytest.approx(area)


def test_an_empty_point_is_nothing(tmp_path):
    assert read_annotations(write_qupath(tmp_path / "a.json", [("g", "Point", []), ("g", "MultiPoint", [])])) == []


def test_a_decimal_comma(tmp_path):
    path = write_asap(tmp_path / "a.xml", [("g", [["0,5", 0], ["10,5", 0], ["10,5", "10,0"]])])
    assert read_annotations(path)[0].geometry.area == 50
    (tmp_path / "a.csv").write_text("x;y;class\n1,5;2;a\n")
    assert read_annotations(tmp_path / "a.csv")[0].geometry == Point(1.5, 2)


@pytest.mark.parametrize(
    ("geometry", "says"),
    [
        ({"type": "Polygon", "coordinates": [[[0, 0], [1e300, 0], [1, 1]]]}, r"a coordinate is 1e\+300, .* no slide"),
        ({"type": "Polygon", "coordinates": SQUARE}, "or are nested otherwise"),
        ({"type": "Polygon", "coordinates": [[SQUARE]]}, "or are nested otherwise"),
        ({"type": "Polygon", "coordinates": None}, "coordinates are no list"),
        ([1], "geometry is no object"),
    ],
)
def test_what_is_wrong_with_a_geometry_is_said(tmp_path, geometry, says):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"type": "Feature", "geometry": geometry}]))
    with pytest.raises(WorkError, match=rf"features\[0\]: .*{says}"):
        read_annotations(path)
