"""What TCGA names tell."""

import pytest

from raysweep.slides.table.listing import tcga_columns


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("TCGA-3C-AALI-01Z-00-DX1.F6E9A5DF-D8FB-45CF-B4BD-C6B76294C291",
         ("TCGA-3C-AALI", "3C", "tumor", "01", "ffpe")),
        ("TCGA-CR-7395-01A-01-TS1", ("TCGA-CR-7395", "CR", "tumor", "01", "frozen")),
        ("TCGA-A6-2671-11A-01-BS1.x", ("TCGA-A6-2671", "A6", "normal", "11", "frozen")),
        ("TCGA-02-0001-06A-02-MSA", ("TCGA-02-0001", "02", "tumor", "06", "frozen")),
        ("tcga-3c-aali-01z-00-dx1.f6e9", ("TCGA-3C-AALI", "3C", "tumor", "01", "ffpe")),
        ("TCGA-AB-1234-20A", ("TCGA-AB-1234", "AB", "control", "20", None)),
        ("TCGA-AB-1234-61A-01-XX1", ("TCGA-AB-1234", "AB", None, "61", None)),
        ("TCGA-AB-1234", ("TCGA-AB-1234", "AB", None, None, None)),
        ("TCGA-AB-1234_level0", ("TCGA-AB-1234", "AB", None, None, None)),
    ],
)  # fmt: skip
def test_a_barcode(name, told):
    columns = ("patient", "site", "sample_type", "sample_code", "preparation")
    assert tcga_columns(name) == {column: cell for column, cell in zip(columns, told, strict=True) if cell}


@pytest.mark.parametrize("name", ["slide1", "my-TCGA-3C-AALI", "TCGA-3C-AALIX", "TCGA-3C", "TCGA_3C_AALI", ""])
def test_another_name_tells_nothing(name):
    assert tcga_columns(name) == {}
