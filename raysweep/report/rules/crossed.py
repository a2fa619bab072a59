"""crossed, the default: units and repeats as two crossed sources of chance (`report.crossed`), corrected as
`compare.correction` says.

The only rule whose intervals cover both, and whose p values, simultaneous intervals and words always agree (max-t). Its
paragraph under Methods is the page's own.
"""

from collections.abc import Sequence

from raysweep.report.family import judge
from raysweep.report.intervals import Difference, tested
from raysweep.report.rules import Rule, register


def _method(judged: Sequence[Difference]) -> str:
    return ""


register(Rule("crossed", "crossed variance components of units and repeats", tested, judge, _method))
