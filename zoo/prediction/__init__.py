"""Files in, classes out: one row per frame, whatever the file is like, in the order of the input, in memory that does not grow with it."""

from zoo.prediction.files import FORMATS, RowFile, check_output
from zoo.prediction.inputs import FITS_NAMES, check_inputs, expand
from zoo.prediction.rows import Prediction, columns
from zoo.prediction.run import predict

__all__ = ["FITS_NAMES", "FORMATS", "Prediction", "RowFile", "check_inputs", "check_output", "columns", "expand", "predict"]
