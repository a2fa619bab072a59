"""What the columns of the report's CSV files hold, written beside them as columns.csv."""

from collections.abc import Iterable

from raysweep.report.tables import Table

_LABELS = "share of the training images (or units) that were labelled, 0 to 1"
_MEANINGS = {
    "task": "task that was trained on", "test set": "what was tested: the task's own test set, or a further one",
    "protocol": "how the checkpoint was transferred", "fraction": _LABELS, "checkpoint": "name in the study",
    "metric": "name of the metric", "seen": "what the weights have seen of the test set; empty: not asked",
    "value": "metric, mean over repeats", "low": "lower end of the interval at level 1 - alpha",
    "high": "upper end of that interval", "interval": "how the interval was made, or why there is none",
    "repeats": "number of repeats with a value; in missing: numbers of those without",
    "planned repeats": "number of repeats planned",
    "pretrainings": "number of pretrainings that repeats started from", "labelled images": "mean over repeats",
    "labelled units": "mean over repeats", "val images": "labelled images that settings were chosen by",
    "val units": "units of the val images", "test images": "number", "test units": "number",
    "unit": "what is independent: patient, slide or image",
    "best of column": "yes: better than every other checkpoint, all pairs of the task corrected together",
    "baseline": "checkpoint that is subtracted", "difference": "checkpoint minus baseline (first minus second)",
    "p": "two-sided, of no difference, not corrected",
    "simultaneous low": "lower end of the interval that is corrected over the family",
    "simultaneous high": "upper end of that interval", "p corrected": "p corrected over the family",
    "p equal": "p of a difference of at least the margin (two one-sided tests)",
    "p equal corrected": "the same, corrected along and over curves; empty: not reached",
    "equal low": "lower end of the interval at level 1 - 2 alpha that belongs to p equal",
    "equal high": "upper end of that interval", "SE": "standard error of the difference",
    "df": "its degrees of freedom", "seed sd": "standard deviation between repeats, all units tested",
    "unit sd": "standard deviation between units, over all repeats",
    "smallest detectable": "true difference that is found with a power of 80 % (Bonferroni over the family)",
    "beyond two sd": "yes: more than twice the larger standard deviation over repeats (Mormont et al. 2021); no test",
    "comparisons": "size of the family", "family": "primary, or exploratory (no verdict)",
    "verdict": "word of the report", "reason": "why there is none, or what it does not allow for",
    "class": "name of the class", "may be the best": "multiple comparisons with the best, the leading one first",
    "equal from": f"{_LABELS}: equal to the baseline within the margin from here on",
    "images": "number; in crossovers those that are labelled at that fraction",
    "better by the margin up to": f"{_LABELS}: better by more up to here",
    "images there": "labelled images at that fraction", "first": "checkpoint", "second": "checkpoint",
    "status": "done, running, dead, failed, skipped or waiting", "trials": "number", "pruned": "trials stopped early",
    "failed": "trials that failed", "search min": "device-minutes of trials", "finals": "number",
    "finals min": "device-minutes of finals", "backbone": "timm's name", "method": "pretraining objective",
    "epochs": "of pretraining", "patch set": "name in the study", "um/px": "µm per px", "px": "edge of a patch",
    "lineage": "what the weights come from, first to last", "licence": "of the weights", "choice": "what was chosen",
    "by": "rule of the choice", "repeat": "number of the repeat", "member": "checkpoint that was ranked",
    "ranked on": "task", "rank": "1 is the best", "mean rank": "over the tasks ranked on", "chosen": "what was chosen",
    "value is": "what the value is", "path": "values of the setting",
    "at an end": "repeats that chose an end of the path",
    "how": "how a setting was chosen", "slide": "name", "patient": "name", "split": "train, val or test",
    "source": "where the µm per px come from", "patches": "number", "left out": "patches left out, by reason",
    "half-width": "half the simultaneous interval now", "bought": "what there would be twice as much of",
    "then": "how much there would be of it", "half-width then": "half the interval if the components stay as they are",
    "ratio": "half-width then / half-width", "smallest p corrected": "the smallest of the task's family",
    "p over tasks": "the same, corrected by Holm's method over tasks", "p over pairs": "corrected by Holm's method, at "
    "least Friedman's p", "tasks": "number that were ranked on", "data sets": "number of independent blocks of tasks",
    "own value": "metric on the task's own test set", "value there": "metric on the further test set",
    "relative drop": "part of the own value that is lost there, 0 to 1; below 0: a gain",
    "images of baseline": "the most labelled images that the baseline was given, mean over repeats",
    "images to reach it": "labelled images with which the checkpoint reaches the baseline's score at its most; empty: "
    "outside the numbers that were studied, or not told",
    "fewest images": "of the checkpoint's curve", "most images": "of the checkpoint's curve",
    "curves": "checkpoints of the task over which the interval is corrected (Bonferroni)",
    "in words": "the same as a sentence",
    "tissue mm²": "area of tissue", "trained on": "task", "of": "data or weights; slide or image",
    "name": "name in the study, or of the slide or image", "commercial use": "what the licence says of it",
    "terms": "where the licence stands", "set": "patch set or task", "division": "fold of those that there are",
    "part": "train, val or test", "units": "number of units", "by class": "images of each class (units)",
    "label": "of the whole slide", "slides": "number, done", "patients": "number",
    "fewest of a patient": "patches of the patient with the fewest",
    "most of a patient": "patches of the patient with the most", "truth": "true class",
    "predicted": "class with the highest score", "count": "images, over all repeats", "share": "part of the true class",
    "sample": "name of the image", "score": "of the predicted class", "searches": "repeats times folds",
    "selected by": "val_metric (higher is better), val_loss or last",
    "best so far": "on validation, mean over searches, of the best of the first trials as they ran",
    "best came last": "searches whose last trial was the best",
    "at an edge": "settings that half of the repeats or more chose at an end of their range",
    "kind of subgroup": "what the card names a column for, such as site", "subgroup": "value of that column",
    "lead on val": "checkpoint minus baseline, by what settings are chosen by, after so many trials; above 0 it leads",
    "leads": "who leads on validation then; empty: not known yet",
    "kind": "patch set, task or checkpoint", "folder": "below its name", "fingerprint": "of all that can change it",
}  # fmt: skip


def columns_table(tables: Iterable[Table]) -> Table:
    """A row for each column of each table that has a fixed meaning: table, column, meaning.

    Columns that are named after a label fraction or a test set hold text as it is printed, `0.812 [0.780, 0.844]`; the
    same values are numbers in results.csv.
    """
    rows = [[t.name, h, _meaning(h)] for t in tables for h in t.headers]
    return Table("columns", ("table", "column", "meaning"), rows)


def _meaning(header: str) -> str:
    if header.startswith("rank on "):
        return "rank among checkpoints on that task, 1 is the best"
    return _MEANINGS.get(header, "as printed: value [low, high], or the status; numbers are in results.csv")
