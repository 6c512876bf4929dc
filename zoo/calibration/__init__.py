"""What the probabilities of a model are worth: temperature scaling, sets of classes with a stated coverage, other class shares."""

from zoo.calibration.calibration import CALIBRATION_NAME, Calibration, calibrate
from zoo.calibration.conformal import attainable_level, needed_targets
from zoo.calibration.prior import apply_prior, check_prior, parse_prior
from zoo.calibration.temperature import HIGHEST, LOWEST, fit_temperature, softmax

__all__ = [
    "CALIBRATION_NAME",
    "HIGHEST",
    "LOWEST",
    "Calibration",
    "apply_prior",
    "attainable_level",
    "calibrate",
    "check_prior",
    "fit_temperature",
    "needed_targets",
    "parse_prior",
    "softmax",
]
