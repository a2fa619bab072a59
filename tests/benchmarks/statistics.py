"""Does the report's statistics hold what it says: coverage, false positives and family-wise rates, by simulation.

    python -m tests.benchmarks.statistics [--studies N] [--only worth]

A study is a paired difference of nothing, in units x runs: a unit's effect (sd 1, normal or skewed: exponential), a
run's effect (sd 0, 1 or 2 times 1 / sqrt(units), the error of a mean over units) and what is left (sd 1). Each figure
is in percent with its standard error.

- coverage: of the 95 % interval of `report.crossed`. false positives are what is missing to 100.
- careful: the same with other quantiles in step 5 of `report.crossed`, 3 runs.
- pretrainings: false positives where two checkpoints have 2 and 3 (3 and 3, 2 and 1) pretrainings and 6 runs.
- families: a baseline, three checkpoints, five label fractions and the means over them, 18 contrasts: how often a
  family has a false positive after single-step correction (max-t), and after Holm's.
- one search: false positives where all runs share a setting (`search: once`), whose effect on the difference has sd 0,
  1 or 2 times the error of a mean over units in each fold; this is what the report says that it does not cover.
- worth: of `report.worth`, five label counts from 20 to 500, the baseline's curve rises by 3 (1: flat) unit standard
  deviations and flattens, the checkpoint's is the same plus 0.5. Of the studies that are not refused: in how many the
  95 % interval holds the number at which the true curve, straight between the counts, reaches the score, in how many
  its upper end is too small and its lower end too large; and how many are refused.

tests/benchmarks/statistics.txt is the output of the last run; it takes about eight minutes of one core.
"""

import argparse

import numpy as np
from scipy import stats

from raysweep.report.crossed import mean_squares, plain, with_groupings
from raysweep.report.intervals import Contrast, Scores
from raysweep.report.single_step import Family
from raysweep.report.worth import worth_in_labels

_UNITS, _RUNS, _SEEDS = (5, 8, 15, 30, 100), (3, 5, 10), (0, 1, 2)
_ALPHA = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=5000, help="simulated studies of each point")
    parser.add_argument("--only", choices=["worth"], help="this case alone")
    studies, only = parser.parse_args().studies, parser.parse_args().only
    rng = np.random.default_rng(0)
    how = f"--studies {studies}" + (f" --only {only}" if only else "")
    print(f"python -m tests.benchmarks.statistics {how}; in percent, in brackets the standard error")
    if not only:
        _differences(rng, studies)
    _worths(rng, max(50, studies // 5))


def _differences(rng: np.random.Generator, studies: int) -> None:
    for skewed in (False, True):
        print(f"\ncoverage of 95 % intervals, {'skewed' if skewed else 'normal'} units (columns: units)")
        print(f"{'runs':>5} {'seed sd':>8} " + " ".join(f"{n:>11}" for n in _UNITS))
        for runs in _RUNS:
            for seed in _SEEDS:
                found = [_coverage(rng, studies, n, runs, seed, skewed) for n in _UNITS]
                print(f"{runs:>5} {seed:>8} " + " ".join(_percent(f, studies) for f in found), flush=True)
        print("careful (3 runs, seed sd 1 and 2 together; columns: quantile)")
        for n in (8, 30):
            found = [np.mean([_coverage(rng, studies, n, 3, k, skewed, q) for k in (1, 2)]) for q in (0.25, 0.35, 0.5)]
            print(f"{n:>5} units   " + " ".join(_percent(f, 2 * studies) for f in found), flush=True)
    print("\nfalse positives with several pretrainings, 6 runs (columns: units)")
    for ours, base in ((2, 3), (3, 3), (2, 1), (3, 1)):
        found = [_pretrainings(rng, studies, n, ours, base) for n in (8, 15, 30)]
        print(f"{ours} and {base}: " + " ".join(_percent(f, studies) for f in found), flush=True)
    print("\nfalse positives with one search for all, 5 runs, 30 units (columns: sd of the setting's effect 0, 1, 2)")
    for folds in (1, 5):
        found = [_one_search(rng, studies, folds, k) for k in (0, 1, 2)]
        print(f"{folds} folds: " + " ".join(_percent(f, studies) for f in found), flush=True)
    few = max(50, studies // 5)
    print(f"\nfamily-wise rate of 18 contrasts, {few} studies a point (max-t, Holm; columns: 8, 30, 100 units)")
    print(f"{'units':>6} {'runs':>5} {'seed sd':>8}")
    for skewed in (False, True):
        for runs in _RUNS:
            for seed in _SEEDS:
                rates = [_familywise(rng, few, n, runs, seed, skewed) for n in (8, 30, 100)]
                text = " ".join(f"{_percent(one, few)} {_percent(holm, few)}" for one, holm in rates)
                print(f"{'skewed' if skewed else 'normal'} {runs:>5} {seed:>8} {text}", flush=True)


def _worths(rng: np.random.Generator, studies: int) -> None:
    print(f"\nworth in labels, {studies} studies a point (held, upper end too small, lower end too large; refused)")
    print(f"{'units':>6} {'rise':>4} {'runs':>5} {'seed sd':>8}  (columns: 8, 15, 30 units)")
    points = [(False, 3.0, seed) for seed in (0, 1, 2)] + [(True, 3.0, 1), (False, 1.0, 1)]
    for skewed, rise, seed in points:
        for runs in _RUNS:
            found = [_worth(rng, studies, n, runs, seed, rise, skewed) for n in (8, 15, 30)]
            print(f"{'skewed' if skewed else 'normal'} {rise:>4g} {runs:>5} {seed:>8} {' | '.join(found)}", flush=True)


def _worth(
    rng: np.random.Generator, studies: int, n: int, runs: int, seed: float, rise: float, skewed: bool
) -> str:  # fmt: skip
    images = np.array([20.0, 45.0, 100.0, 225.0, 500.0])
    place = np.linspace(0, 1, 5)
    base = rise * (1 - np.exp(-2 * place)) / (1 - np.exp(-2))
    ours = base + 0.5
    true = float(np.exp(np.interp(base[-1], ours, np.log(images))))
    effect = (lambda *shape: rng.exponential(size=shape) - 1) if skewed else (lambda *shape: rng.normal(size=shape))
    counts, told = np.zeros(3), 0
    for _ in range(studies):
        unit = np.sqrt(0.7) * effect(2, 1, 1, n) + np.sqrt(0.3) * effect(2, 5, 1, n)
        x = unit + seed / np.sqrt(n) * rng.normal(size=(2, 5, runs, 1)) + rng.normal(size=(2, 5, runs, n))
        curves = [[_scores(part + level) for part, level in zip(own, levels, strict=True)]
                  for own, levels in zip(x, (ours, base), strict=True)]  # fmt: skip
        found = worth_in_labels(*curves, images.tolist(), alpha=_ALPHA)
        if found.low is not None and found.high is not None:
            told += 1
            counts += [found.low <= true <= found.high, found.high < true, found.low > true]
    rates = " ".join(_percent(k / max(1, told), max(1, told)) for k in counts)
    return f"{rates}; {100 * (1 - told / studies):4.0f}"


def _scores(x: np.ndarray) -> Scores:
    values, without = _left_out(x)
    return Scores(values, without, tuple(range(len(x))), (0,) * len(x), tuple(map(str, range(x.shape[1]))))


def _draw(rng: np.random.Generator, studies: int, n: int, runs: int, seed: float, skewed: bool) -> np.ndarray:
    """(studies, runs, n)."""
    unit = rng.exponential(size=(studies, 1, n)) - 1 if skewed else rng.normal(size=(studies, 1, n))
    run = seed / np.sqrt(n) * rng.normal(size=(studies, runs, 1))
    return unit + run + rng.normal(size=(studies, runs, n))


def _left_out(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x.mean(-1), (x.sum(-1, keepdims=True) - x) / (x.shape[-1] - 1)


def _coverage(
    rng: np.random.Generator, studies: int, n: int, runs: int, seed: float, skewed: bool, careful: float = 0.35
) -> float:
    hits = 0
    for start in range(0, studies, 500):
        x = _draw(rng, min(500, studies - start), n, runs, seed, skewed)
        values, without = _left_out(x)
        se, df = plain(mean_squares(values, without), careful)
        hits += int((np.abs(values.mean(-1)) <= stats.t.ppf(1 - _ALPHA / 2, df) * se).sum())
    return hits / studies


def _pretrainings(rng: np.random.Generator, studies: int, n: int, ours: int, base: int) -> float:
    """Effects of a pretraining have sd 1 / sqrt(n), those of a run as well."""
    groups = [np.arange(6) % count for count in (ours, base)]
    x = _draw(rng, studies, n, 6, 1.0, False)
    for count, group in zip((ours, base), groups, strict=True):
        if count > 1:  # a single pretraining is what the study is about
            x += rng.normal(size=(studies, count, 1))[:, group] / np.sqrt(n)
    values, without = _left_out(x)
    distinct = [np.arange(6) % count for count in dict.fromkeys((ours, base)) if count > 1]
    se, df = with_groupings(values, mean_squares(values, without), distinct)
    return float((np.abs(values.mean(-1)) > stats.t.ppf(1 - _ALPHA / 2, df) * se).mean())


def _one_search(rng: np.random.Generator, studies: int, folds: int, setting: float) -> float:
    x = _draw(rng, studies, 30, 5, 1.0, False)
    x += setting / np.sqrt(30 * folds) * rng.normal(size=(studies, 1, 1))
    values, without = _left_out(x)
    se, df = plain(mean_squares(values, without))
    return float((np.abs(values.mean(-1)) > stats.t.ppf(1 - _ALPHA / 2, df) * se).mean())


def _familywise(
    rng: np.random.Generator, studies: int, n: int, runs: int, seed: float, skewed: bool
) -> tuple[float, float]:
    single = holm = 0
    units, over = tuple(map(str, range(n))), tuple(range(runs))
    effect = (lambda *shape: rng.exponential(size=shape) - 1) if skewed else (lambda *shape: rng.normal(size=shape))
    for _ in range(studies):
        unit = np.sqrt(0.7) * effect(4, 1, 1, n) + np.sqrt(0.3) * effect(4, 5, 1, n)
        x = unit + seed / np.sqrt(n) * rng.normal(size=(4, 5, runs, 1)) + rng.normal(size=(4, 5, runs, n))
        d = x[1:] - x[:1]
        values, without = _left_out(np.concatenate([d, d.mean(1, keepdims=True)], axis=1).reshape(-1, runs, n))
        se, df = plain(mean_squares(values, without))
        p = float((2 * stats.t.sf(np.abs(values.mean(-1)) / se, df)).min())
        surely = p * len(values) < _ALPHA  # the corrected p lies between p and this product
        holm += surely
        if surely or p >= _ALPHA:
            single += surely
            continue
        family = Family([Contrast(v, w, (), (units, over)) for v, w in zip(values, without, strict=True)])
        single += family.corrected(p) < _ALPHA
    return single / studies, holm / studies


def _percent(rate: float, studies: int) -> str:
    return f"{100 * rate:5.1f} ({100 * np.sqrt(max(rate * (1 - rate), 1e-4) / studies):.1f})".rjust(11)


if __name__ == "__main__":
    main()
