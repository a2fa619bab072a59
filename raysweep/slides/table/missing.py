"""Words that programs write into a cell of a table where they have nothing to write."""

# R, pandas, databases and spreadsheets; of the last also what they show in place of a value that they cannot compute.
_WORDS = frozenset({
    "na", "n/a", "<na>", "nan", "nat", "none", "null", "#n/a", "#ref!", "#value!", "#name?", "#div/0!", "#num!",
    "#null!",
})  # fmt: skip


def says_nothing(cell: str) -> bool:
    """Whether a cell holds such a word, in any case; an empty one does not."""
    return cell.lower() in _WORDS
