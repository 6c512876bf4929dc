"""What the probabilities of a model are worth: temperature scaling, sets of classes with a stated coverage, other class shares."""

from zoo.calibration.temperature import HIGHEST, LOWEST, fit_temperature, softmax

__all__ = ["HIGHEST", "LOWEST", "fit_temperature", "softmax"]
