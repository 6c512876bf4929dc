"""What the probabilities of a model are worth: temperature scaling, sets of classes with a stated coverage, other class shares."""

from zoo.calibration.calibration import CALIBRATION_NAME, Calibration, calibrate, usable
from zoo.calibration.conformal import attainable_level, needed_targets
from zoo.calibration.flags import FLAGS, FlagRules, judge
from zoo.calibration.frame_range import RANGE_NAME, FrameRange, fit_range, measure_range, spread_rows
from zoo.calibration.prior import apply_prior, check_prior, parse_prior
from zoo.calibration.temperature import HIGHEST, LOWEST, fit_temperature, softmax

__all__ = [
    "CALIBRATION_NAME",
    "FLAGS",
    "HIGHEST",
    "LOWEST",
    "RANGE_NAME",
    "Calibration",
    "FlagRules",
    "FrameRange",
    "apply_prior",
    "attainable_level",
    "calibrate",
    "check_prior",
    "fit_range",
    "fit_temperature",
    "judge",
    "measure_range",
    "needed_targets",
    "parse_prior",
    "softmax",
    "spread_rows",
    "usable",
]
