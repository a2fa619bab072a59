"""How many labels, in words: images and the units they are of."""

from raysweep.report.findings import Estimate

_UNITS = {"patient": "patients", "slide": "slides", "image": "images", "site": "sites"}


def unit_words(unit: str, count: int) -> str:
    """The noun that goes with a count of units: `patients`, `patient`."""
    return _UNITS.get(unit, "units") if count != 1 else unit


def size_words(estimate: Estimate) -> str:
    """`24 labelled images of 4 patients`; images alone where the unit is the image."""
    text = f"{estimate.n_images} labelled image{'s' * (estimate.n_images != 1)}"
    if estimate.unit == "image":
        return text
    return f"{text} of {estimate.n_train_units} {unit_words(estimate.unit, estimate.n_train_units)}"
