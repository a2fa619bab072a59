"""The csv layout: columns and templates become samples, and every wrong table is one sentence."""

import pytest

from raysweep.errors import RequestError
from raysweep.tasks.cards import load_card
from raysweep.tasks.layouts import layout_of
from raysweep.tasks.sample import LeftOut, Sample
from raysweep.yaml_file import parse_yaml


def samples_of(card, root):
    layout, options = layout_of(card)
    return layout.index(options, root, card)


def table(folder, text):
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return folder


def test_rows_become_samples_with_a_template_a_label_map_and_splits(tmp_path, make_card):
    card = make_card(
        layout={"type": "csv", "file": "labels.csv", "image": "images/{name}.png", "label": "grade", "unit": "who",
                "split": "part", "labels": {"B": "b", "junk": None}, "splits": {"training": "train"}}
    )  # fmt: skip
    table(tmp_path, "\ufeffname, grade ,who,part\nx,a,p1,training\ny, B ,p2,test\nz,junk,p3,test\n")
    first, second = samples_of(card, tmp_path)
    assert (first.id, first.image, first.mask, first.label) == ("images/x.png", "images/x.png", None, 0)
    assert (first.unit, first.split) == ("p1", "train")
    assert (second.label, second.unit, second.split) == (1, "p2", "test")


def test_a_segmentation_card_reads_the_mask_column_and_no_label(tmp_path, make_card):
    table(tmp_path, "image,mask,patient\nx.png,m/x.png,p\n")
    layout = {"type": "csv", "file": "labels.csv", "mask": "{mask}", "unit": "patient"}
    (sample,) = samples_of(make_card("segmentation", layout=layout), tmp_path)
    assert (sample.mask, sample.label) == ("m/x.png", None)


def test_without_units_every_image_is_its_own(tmp_path, make_card):
    table(tmp_path, "image,label\nx.png,a\ny.png,b\n")
    layout = {"type": "csv", "file": "labels.csv", "label": "label"}
    assert [s.unit for s in samples_of(make_card(layout=layout, unit="image"), tmp_path)] == ["x.png", "y.png"]
    with pytest.raises(RequestError, match=r"layout\.unit: name the column that holds the patient"):
        samples_of(make_card(layout=layout), tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,label,patient\nx.png,aa,p\n", r"row 2: 'aa' is none of the classes a, b \(nearest: a\); map it"),
        ("image,label,patient\nx.png,a,\n", "row 2: the column 'patient' is empty"),
        (
            "image,label,patient\nx.png,a,NaN\n",
            "row 2: the column 'patient' holds 'NaN'; every image has a patient: write",
        ),
        ("image,label,patient\nx.png,a,p\nx.png,b,p\n", r"row 3: the image x\.png is listed twice"),
        ("image,label,patients\nx.png,a,p\n", r"no column 'patient' \(nearest: patients\)"),
        ("image,label,patient\n", "has no rows"),
        ("image,label,patient\n../x.png,a,p\n", r"'\.\./x\.png' must stay below the task's root"),
        ("image,label,patient\n/etc/x.png,a,p\n", "must stay below the task's root"),
        ("image,label,patient\na/..\\../x.png,a,p\n", "must stay below the task's root"),
        ("image,label,patient\n,a,p\n", "must stay below the task's root"),
    ],
)
def test_a_wrong_table_is_refused_with_one_sentence(tmp_path, make_card, text, says):
    table(tmp_path, text)
    with pytest.raises(RequestError, match=says) as caught:
        samples_of(make_card(), tmp_path)
    assert "card toy" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_split_is_refused(tmp_path, make_card):
    table(tmp_path, "image,label,patient,split\nx.png,a,p,dev\n")
    layout = {"type": "csv", "file": "labels.csv", "label": "label", "unit": "patient", "split": "split"}
    with pytest.raises(RequestError, match=r"split 'dev' is none of train, val, test; map it in layout\.splits"):
        samples_of(make_card(layout=layout), tmp_path)


def test_a_missing_table_and_a_table_outside_the_root_are_refused(tmp_path, make_card):
    with pytest.raises(RequestError, match=r"there is no .*labels\.csv; .* is empty"):
        samples_of(make_card(), tmp_path)
    layout = {"type": "csv", "file": "../labels.csv", "label": "label", "unit": "patient"}
    with pytest.raises(RequestError, match=r"layout\.file: the path '\.\./labels\.csv' must stay below"):
        samples_of(make_card(layout=layout), tmp_path)


def test_each_kind_of_task_needs_its_column(tmp_path, make_card):
    with pytest.raises(RequestError, match=r"layout\.label: a classification task needs it"):
        samples_of(make_card(layout={"type": "csv", "file": "labels.csv", "unit": "patient"}), tmp_path)
    with pytest.raises(RequestError, match=r"layout\.mask: a segmentation task needs it"):
        samples_of(make_card("segmentation", layout={"type": "csv", "file": "x.csv", "unit": "patient"}), tmp_path)


def test_a_template_that_names_nothing_is_refused(make_card):
    with pytest.raises(RequestError, match=r"layout: image: .*names nothing in braces"):
        layout_of(make_card(layout={"type": "csv", "file": "labels.csv", "image": "x.png"}))


def written(make_card, text):
    """A card with some of its keys as they stand in a file."""
    keys = make_card(unit="image").model_dump(exclude={"classes", "layout"})
    return load_card({**keys, **parse_yaml(text, "toy.yaml")}, [])


@pytest.mark.parametrize(
    ("classes", "labels", "values"),
    [
        ("[benign, malignant]", "{0: benign, 1: malignant}", "01"),
        ("[0, 1]", "{}", "01"),
        ("[007, 1e3]", "{}", ("007", "1e3")),
        ("[no, yes]", "{off: no, on: yes}", ("off", "on")),
        ("[1.50, 0x1]", "{010: 1.50, 1_0: 0x1}", ("010", "1_0")),
    ],
)
def test_numbers_and_words_of_a_card_are_the_text_they_were_written_as(tmp_path, make_card, classes, labels, values):
    table(tmp_path, f"image,label,part\nx.png,{values[0]},0\ny.png,{values[1]},1\n")
    layout = (
        f"{{type: csv, file: labels.csv, label: label, labels: {labels}, split: part, splits: {{0: train, 1: test}}}}"
    )
    samples = samples_of(written(make_card, f"classes: {classes}\nlayout: {layout}"), tmp_path)
    assert [(s.label, s.split) for s in samples] == [(0, "train"), (1, "test")]


@pytest.mark.parametrize("text", ["classes: [true, false]", "layout: {type: csv, file: x.csv, labels: {0: true}}"])
def test_true_and_false_are_no_names_and_the_sentence_says_quotes(make_card, text):
    rest = "layout: {type: csv, file: x.csv}" if text.startswith("classes") else "classes: [a, b]"
    with pytest.raises(
        RequestError, match="true is a value of its own in YAML; where it is a name, write it in quotes"
    ):
        layout_of(written(make_card, f"{text}\n{rest}"))


def test_filters_make_several_tasks_of_one_table(tmp_path, make_card):
    text = "image,label,patient,stain,site\n" + "".join(
        f"{n}.png,{'ab'[n % 2]},p{n},{('he', 'pas', 'none')[n % 3]},{n // 6}\n" for n in range(12)
    )
    table(tmp_path, text.replace("2.png,a,p2", "2.png,junk,").replace("5.png", "0.png"))
    layout = {"type": "csv", "file": "labels.csv", "label": "label", "unit": "patient"}

    def found(**where):
        return samples_of(make_card(layout=layout | {"where": where}), tmp_path)

    everything = found(stain="he", site="0")
    assert [one.image for one in everything if isinstance(one, Sample)] == ["0.png", "3.png"]
    left = [one.image for one in everything if isinstance(one, LeftOut)]
    assert left == ["1.png", "2.png", "4.png", *(f"{n}.png" for n in range(6, 12))], "0.png is kept by another row"
    assert sum(isinstance(one, Sample) for one in found(stain=[" he", "pas"])) == 8


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"stains": "he"}, r"has no column 'stains' \(nearest: stain\); it has 'image'"),
        ({"stain": "hee"}, r"layout\.where: no row has 'hee' in the column 'stain'; there is 'he', \.\.\."),
        ({"stain": ["he", "x"]}, r"no row has 'x' in the column 'stain'; there is 'he', 'pas'$"),
        ({"stain": "he", "patient": "q"}, r"no row has all of these values; leave one of them out"),
        ({"stain": []}, "no row has all of these values"),
    ],
)
def test_filters_that_mean_nothing_are_refused(tmp_path, make_card, where, says):
    table(tmp_path, "image,label,patient,stain\nx.png,a,p,he\ny.png,b,q,pas\n")
    layout = {"type": "csv", "file": "labels.csv", "label": "label", "unit": "patient", "where": where}
    with pytest.raises(RequestError, match=says):
        samples_of(make_card(layout=layout), tmp_path)


def test_a_filter_takes_numbers_as_they_were_written(tmp_path, make_card):
    table(tmp_path, "image,label,part,fold\nx.png,a,p,007\ny.png,b,q,1e3\n")
    layout = "layout: {type: csv, file: labels.csv, label: label, where: {fold: [007, 1e3]}}"
    assert len(samples_of(written(make_card, f"classes: [a, b]\n{layout}"), tmp_path)) == 2
