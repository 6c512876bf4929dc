"""What scores are called where people read them."""

SCORES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_target_accuracy": "macro accuracy per target",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "roc_auc": "ROC-AUC",
    "average_precision": "average precision",
}

LOSSES = {"log_loss": "log loss", "brier": "Brier score", "calibration_error": "expected calibration error"}  # less is better
