"""Tables of words and numbers: as CSV for machines, as Markdown and LaTeX for people."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

_TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
        "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$",
        "·": r"$\cdot$", "µ": r"\textmu{}", "<": "$<$", ">": "$>$", "≥": r"$\geq$", "²": "$^2$",
        "≤": r"$\leq$", "≈": r"$\approx$", "≠": r"$\neq$", "×": r"$\times$", "°": r"$^\circ$", "–": "--", "—": "---",
        "‘": "`", "’": "'", "“": "``", "”": "''", "\u00a0": "~", "★": r"$\star$", "³": "$^3$", "¹": "$^1$",
        "→": r"$\rightarrow$", "…": r"\ldots{}", "†": r"$\dagger$", "‡": r"$\ddagger$", "§": r"\S{}"}  # fmt: skip
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "ς": "varsigma",
    "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma",
    "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Υ": "Upsilon", "Φ": "Phi",
    "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_TEX |= {letter: rf"$\{name}$" for letter, name in _GREEK.items()}
_PERCENT = re.compile(r"(\d+(?:\.\d+)?) %")


class Shown(str):
    """Text for people that stands for a number: `plain` is what machines read, empty where there is none."""

    plain: str

    def __new__(cls, text: str, plain: str) -> "Shown":
        made = super().__new__(cls, text)
        made.plain = plain
        return made


@dataclass(frozen=True)
class Table:
    """Rows of text under headers. `numbers` are the headers of columns that hold numbers."""

    name: str
    headers: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[str] = frozenset()

    def compact(self) -> "Table":
        """Without columns that hold nothing in any row."""
        kept = [i for i in range(len(self.headers)) if any(row[i] for row in self.rows)]
        rows = [[row[i] for i in kept] for row in self.rows]
        return Table(self.name, tuple(self.headers[i] for i in kept), rows, self.numbers)

    def csv(self) -> str:
        """Plain numbers in full with an ASCII minus, fractions instead of percent, empty for what is missing."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.headers)
        number = [h in self.numbers for h in self.headers]
        writer.writerows([_plain(c, n) for c, n in zip(row, number, strict=True)] for row in self.rows)
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
        return Shown("undefined", "")
    plain = f"{value:.10g}"
    value = round(value, digits) or 0.0  # no minus before zero
    text = f"{value:+.{digits}f}" if sign and value else f"{value:.{digits}f}"
    return Shown(text.replace("-", "−") if sign else text, plain)


def metric_words(metric: str) -> str:
    """A metric's name as one reads it: `balanced accuracy`, `AUROC`."""
    return (
        metric.replace("auroc", "AUROC")
        .replace("iou", "IoU")
        .replace("f1", "F1")
        .replace("dice", "Dice")
        .replace("_", " ")
    )


def p_value(p: float | None) -> str:
    """A p value as journals print it."""
    if p is None:
        return ""
    return Shown("< 0.001" if p < 0.001 else f"{p:.3f}", f"{p:.6g}")


def with_interval(value: float, low: float | None, high: float | None, sign: bool = False) -> str:
    """`0.812 [0.780, 0.844]`."""
    middle = number(value, 3, sign)
    return middle if low is None else f"{middle} [{number(low, 3, sign)}, {number(high, 3, sign)}]"


def _plain(cell: str, number: bool) -> str:
    if isinstance(cell, Shown):
        return cell.plain
    found = _PERCENT.fullmatch(cell) if number else None
    return f"{float(found[1]) / 100:.10g}" if found else cell


def _markdown(cell: str) -> str:
    return " ".join(cell.replace("\\", "\\\\").replace("|", r"\|").replace("<", "&lt;").split())


def _latex(row: Sequence[str]) -> str:
    return " & ".join("".join(_TEX.get(c, c) for c in " ".join(cell.split())) for cell in row) + r" \\"
