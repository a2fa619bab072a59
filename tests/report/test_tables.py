import csv
import io

import pytest

from raysweep.report.tables import Table, metric_words, number, p_value, with_interval

TABLE = Table(
    "t", ("name", "value"), [["a|b & <c>_1", "0.812 [0.780, 0.844]"], ["50 %, µ", "−0.100"]], frozenset({"value"})
)


def test_csv_reads_back():
    assert list(csv.reader(io.StringIO(TABLE.csv()))) == [list(TABLE.headers), *TABLE.rows]


def test_csv_holds_plain_numbers():
    cells = [number(-0.123456, 3, True), p_value(0.00012), number(float("nan")), number(None), "12.5 %"]
    table = Table("t", tuple("abcde"), [cells], frozenset("abcde"))
    assert table.csv().splitlines()[1] == "-0.123456,0.00012,,,0.125"
    assert table.markdown().splitlines()[2] == "| −0.123 | < 0.001 | undefined |  | 12.5 % |".replace("<", "&lt;")


def test_latex_has_letters_and_quotes_of_its_own():
    line = Table("t", ("a",), [["α ≤ Ω “x” ‘y’ 3 – 4 ×"]]).latex().splitlines()[4]
    assert line == r"$\alpha$ $\leq$ $\Omega$ ``x'' `y' 3 -- 4 $\times$ \\"
    assert line.isascii()


def test_markdown_and_latex_hold_the_same_and_escape_it():
    lines = TABLE.markdown().splitlines()
    assert lines[1] == "| --- | ---: |"
    assert lines[2] == r"| a\|b & &lt;c>_1 | 0.812 [0.780, 0.844] |"
    latex = TABLE.latex()
    assert r"a|b \& $<$c$>$\_1 & 0.812 [0.780, 0.844] \\" in latex
    assert r"50 \%, \textmu{} & $-$0.100 \\" in latex
    assert latex.startswith(r"\begin{tabular}{lr}")


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [(0.12345, False, "0.123"), (-0.0499, True, "−0.050"), (0.05, True, "+0.050"), (-0.0001, True, "0.000"),
     (None, True, ""), (float("nan"), False, "undefined")],
)  # fmt: skip
def test_numbers(value, sign, text):
    assert number(value, 3, sign) == text


def test_words():
    assert with_interval(0.8, 0.7, 0.9) == "0.800 [0.700, 0.900]"
    assert with_interval(0.8, None, None) == "0.800"
    assert [p_value(p) for p in (None, 0.0002, 0.0123)] == ["", "< 0.001", "0.012"]
    assert [metric_words(m) for m in ("macro_f1", "auroc", "macro_iou")] == ["macro F1", "AUROC", "macro IoU"]
