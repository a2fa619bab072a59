"""Who an image is of, as its name tells it."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep.tasks.identity import plain_name, tcga_patients, unpadded_name

_CODE = st.text(string.ascii_uppercase + string.digits, min_size=4, max_size=4)
_SITE = st.text(string.ascii_uppercase + string.digits, min_size=2, max_size=2)


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("TCGA-CR-7395-01A-01-TS1.svs", "TCGA-CR-7395"),
        ("TCGA-18-5592-01Z-00-DX1.tif", "TCGA-18-5592"),
        ("tumor/tcga-a7-a0da.b2e3c4d5-0000-4f5a.svs", "TCGA-A7-A0DA"),
        ("masks/1_TCGA.49.4488_x.png", "TCGA-49-4488"),
        ("TCGA-AB-12345", None),
        ("XTCGA-AB-1234", None),
        ("TCGA-A-1234", None),
        ("patient 7", None),
    ],
)
def test_barcodes_are_found_wherever_they_stand(name: str, patient: str | None) -> None:
    assert tcga_patients(["other", name]) == ({patient} if patient else set())


@given(_SITE, _CODE, st.sampled_from("-_."), st.booleans(), st.sampled_from(["", "a/", "x-", "01_", "é "]),
       st.sampled_from(["", "-01A-01-TS1.svs", ".png", "_3.tif", "/7.jpg", " (2).png"]))  # fmt: skip
def test_a_barcode_is_the_same_patient_in_any_writing(
    site: str, code: str, mark: str, lower: bool, before: str, after: str
) -> None:
    written = f"{before}TCGA{mark}{site}{mark}{code}{after}"
    assert tcga_patients([written.lower() if lower else written]) == {f"TCGA-{site}-{code}"}


@given(st.lists(st.tuples(_SITE, _CODE), max_size=5), st.lists(st.text(max_size=8), max_size=5))
def test_of_many_names_every_patient_is_told_once(codes: list[tuple[str, str]], others: list[str]) -> None:
    names = [f"TCGA-{site}-{code}-01A.svs" for site, code in codes]
    found = {f"TCGA-{site}-{code}" for site, code in codes}
    assert tcga_patients([*names, *names]) == found
    assert tcga_patients([*names, *others]) == found.union(*(tcga_patients([other]) for other in others))


@given(st.text(max_size=12), st.sampled_from(["", ".svs", ".OME.TIF", ".png", ".JPEG", ".png.tif"]))
def test_suffixes_and_case_do_not_matter(stem: str, suffix: str) -> None:
    assert plain_name(plain_name(stem)) == plain_name(stem)
    if stem.strip() and not stem.strip().startswith("."):  # a name that is nothing but a suffix stays as it is
        assert plain_name(f"{stem.strip()}{suffix}") == plain_name(stem.upper().lower() if stem.isascii() else stem)


@pytest.mark.parametrize(
    ("a", "b"), [("P-007", "p7"), ("001", "1"), ("6", "6.0"), ("Pat 3", "pat_03"), ("A_1_02", "a1-2")]
)
def test_names_that_differ_in_how_they_are_written(a: str, b: str) -> None:
    assert unpadded_name(a) == unpadded_name(b)


def test_names_of_others_stay_others() -> None:
    names = ["1", "10", "100", "1-1", "11", "P1", "P10", "Q1", "1.5", "15", "P1-2", "P12"]
    assert len({unpadded_name(name) for name in names}) == len(names)


def test_other_names_stay_apart() -> None:
    names = ["17", "17b", "a/17", "17.svs.txt", "B17-3", "B17_3"]
    assert len({plain_name(name) for name in names}) == len(names)
    assert plain_name("Müller.SVS") == plain_name("mu\u0308ller") == "müller"
    assert plain_name(".png") == ".png", "a name is not lost"
