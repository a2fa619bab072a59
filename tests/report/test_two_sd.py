import pytest

from raysweep.report.two_sd import beyond_two_sd

# Mormont et al., IEEE JBHI 25, 2021: ImageNet and multi-task weights, ten tasks, DenseNet121 then ResNet50, in percent
# (accuracy or AUROC): value and standard deviation over five seeds; features of ImageNet weights have one value.
FEATURES = [
    (71.52, None, 75.05, 0.70), (75.68, None, 77.63, 3.27), (78.01, None, 79.73, 2.27), (90.54, None, 91.40, 0.32),
    (99.82, None, 99.61, 0.20), (88.22, None, 88.77, 0.21), (96.97, None, 98.05, 0.13), (99.20, None, 99.40, 0.02),
    (93.17, None, 94.40, 0.18), (95.66, None, 96.42, 0.17), (71.52, None, 78.00, 0.61), (73.08, None, 79.31, 1.07),
    (77.81, None, 82.97, 0.84), (91.67, None, 91.15, 0.41), (99.17, None, 99.21, 0.38), (90.00, None, 89.47, 0.27),
    (97.91, None, 97.00, 0.16), (99.41, None, 99.36, 0.02), (93.57, None, 94.75, 0.13), (96.49, None, 96.68, 0.24),
]  # fmt: skip
FINETUNED = [
    (85.32, 1.84, 85.16, 1.01), (89.39, 0.98, 89.41, 0.87), (90.56, 2.01, 90.48, 0.64), (92.77, 0.44, 92.41, 0.29),
    (99.14, 0.43, 98.75, 0.65), (87.51, 0.92, 87.27, 0.49), (99.60, 0.10, 99.67, 0.05), (99.70, 0.08, 99.75, 0.04),
    (95.24, 0.59, 96.00, 0.64), (98.12, 0.50, 98.62, 0.19), (83.57, 2.14, 85.04, 0.37), (88.20, 1.52, 88.36, 1.27),
    (90.64, 1.49, 89.95, 0.61), (92.73, 0.33, 92.61, 1.05), (99.21, 0.34, 99.08, 0.43), (87.80, 1.23, 88.60, 0.72),
    (99.59, 0.11, 99.65, 0.12), (99.79, 0.03, 99.78, 0.07), (94.26, 1.06, 95.67, 1.03), (97.64, 0.48, 97.85, 0.32),
]  # fmt: skip


@pytest.mark.parametrize(("table", "counts"), [(FEATURES, (15, 11, 2)), (FINETUNED, (11, 0, 0))])
def test_counts_of_the_published_tables(table, counts):
    gains = [
        (round(multi - base, 2), beyond_two_sd(round(multi - base, 2), sd, sd_base))
        for base, sd_base, multi, sd in table
    ]
    higher = sum(gain > 0 for gain, _ in gains)
    assert (higher, sum(far for gain, far in gains if gain > 0), sum(far for gain, far in gains if gain < 0)) == counts


def test_the_larger_deviation_counts_and_an_absent_one_is_zero():
    assert beyond_two_sd(-0.021, 0.01, None)
    assert not beyond_two_sd(0.021, 0.01, 0.011)
