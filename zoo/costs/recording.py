"""The child's part of predictions: steps are recorded, and settings searched that make one fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from zoo.costs.fitting import Fitting, fit_model
from zoo.costs.kernels import onednn_copies
from zoo.costs.process import MEASURED
from zoo.costs.settings import Settings
from zoo.costs.subject import Job, count_subject, make_subject
from zoo.models import freeze_until

Tell = Callable[..., None]


def predict(job: Job, tell: Tell) -> dict[str, Any]:
    """Return the peak for each of the settings; with a limit, the mildest change of the first that is within it."""
    subject, training = make_subject(job, weights=False), job["mode"] == "train"
    if job["freeze_until"]:
        freeze_until(subject.model, job["freeze_until"])
    copies = onednn_copies(job["threads"] or torch.get_num_threads()) if job["device"] == "cpu" else None
    fitting = Fitting(subject.model, subject.input_shape, training=training, copies=copies)
    wanted = [Settings(**each) for each in job["settings"]]
    if "limit_bytes" not in job:
        return {"status": MEASURED, "peaks": [dataclasses.asdict(fitting.peak(each)) for each in wanted]}
    (asked,), limit = wanted, job["limit_bytes"]
    found = asked if fitting.peak(asked).total <= limit else fitting.remedy(asked, limit, job["fixed"])
    return {
        "status": MEASURED,
        "fitting": found and found._asdict(),
        "peak": found and dataclasses.asdict(fitting.peak(found)),
    }


def estimate(job: Job, tell: Tell) -> dict[str, Any]:
    """Compute the memory of a step, and what fits into each budget."""
    subject = make_subject(job, weights=False)
    kept = {key: job[key] for key in ("batch", "precision", "optimizer", "ema", "stream")}
    asked = Settings(**kept, checkpoint=job["recompute"])
    threads = job["threads"] or torch.get_num_threads()
    aims = {"training": job["mode"] == "train", "device": job["device"], "threads": threads, "budgets": job["budgets"]}
    fit = fit_model(subject.model, subject.input_shape, asked, **aims)
    return {"status": MEASURED, **count_subject(subject), **fit, "torch": torch.__version__, "threads": threads}
