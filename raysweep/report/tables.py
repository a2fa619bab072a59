"""Tables of words and numbers, written as CSV, Markdown and LaTeX with the same content."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

_TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
        "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$",
        "·": r"$\cdot$", "µ": r"\textmu{}", "<": "$<$", ">": "$>$", "≥": r"$\geq$", "²": "$^2$",
        "→": r"$\rightarrow$", "…": r"\ldots{}", "†": r"$\dagger$", "‡": r"$\ddagger$", "§": r"\S{}"}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows of text under headers. `numbers` are the headers of columns that hold numbers."""

    name: str
    headers: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[str] = frozenset()

    def csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.headers)
        writer.writerows(self.rows)
        return out.getvalue()

    def markdown(self) -> str:
        """A pipe table."""
        rule = ["---:" if h in self.numbers else "---" for h in self.headers]
        lines = [self.headers, rule, *self.rows]
        return "".join("| " + " | ".join(_markdown(cell) for cell in line) + " |\n" for line in lines)

    def latex(self) -> str:
        """A `tabular`; needs the booktabs package."""
        align = "".join("r" if h in self.numbers else "l" for h in self.headers)
        lines = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", _latex(self.headers), r"\midrule"]
        lines += [_latex(row) for row in self.rows]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def number(value: float | None, digits: int = 4, sign: bool = False) -> str:
    """A number with a fixed count of decimals; nothing for None, `undefined` for nan."""
    if value is None:
        return ""
    if value != value:
        return "undefined"
    value = round(value, digits) or 0.0  # no minus before zero
    text = f"{value:+.{digits}f}" if sign and value else f"{value:.{digits}f}"
    return text.replace("-", "−") if sign else text


def metric_words(metric: str) -> str:
    """A metric's name as one reads it: `balanced accuracy`, `AUROC`."""
    return metric.replace("auroc", "AUROC").replace("iou", "IoU").replace("f1", "F1").replace("_", " ")


def p_value(p: float | None) -> str:
    """A p value as journals print it."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def with_interval(value: float, low: float | None, high: float | None, sign: bool = False) -> str:
    """`0.812 [0.780, 0.844]`."""
    middle = number(value, 3, sign)
    return middle if low is None else f"{middle} [{number(low, 3, sign)}, {number(high, 3, sign)}]"


def _markdown(cell: str) -> str:
    return " ".join(cell.replace("\\", "\\\\").replace("|", r"\|").replace("<", "&lt;").split())


def _latex(row: Sequence[str]) -> str:
    return " & ".join("".join(_TEX.get(c, c) for c in " ".join(cell.split())) for cell in row) + r" \\"
