"""Checks of losses, loggers and data sets."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.data import DataSet, check_splits
from zoo.errors import ZooError
from zoo.steps import Pipeline
from zoo.testing.check import CheckList, FaultError, NotApplicableError
from zoo.testing.effects import preserved_state
from zoo.testing.entry_checks import check_options_used
from zoo.testing.subject import EntrySubject

LOSS_CHECKS = CheckList()
LOGGER_CHECKS = CheckList()
DATASET_CHECKS = CheckList()

# As `zoo train` hands them to loggers: lines of metrics.jsonl.
RECORDS: tuple[dict[str, object], ...] = (
    {"event": "step", "step": 1, "epoch": 1, "lr": 1e-3, "loss": 0.7},
    {"event": "step", "step": 2, "epoch": 1, "lr": 1e-3, "loss": None},
    {"event": "epoch", "step": 2, "epoch": 1, "train_loss": 0.7, "val_loss": 0.6, "val_accuracy": 0.5},
)


@dataclass
class LossSubject(EntrySubject):
    """A loss."""

    def build(self, weights: Tensor | None = None, options: dict[str, Any] | None = None) -> Callable[[Tensor, Tensor], Tensor]:
        """Build it."""
        with preserved_state():
            loss: Callable[[Tensor, Tensor], Tensor] = self.entry.load()(class_weights=weights, **(options or self.options))
        return loss

    def run(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Its value. Raises: FaultError: it gave something else than a scalar."""
        value = self.build(weights)(logits, labels)
        if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
            got = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            raise FaultError(f"it gave {got}, expected a float tensor without dimensions", "return the mean over the batch")
        return value


def _sample(classes: int = 2, *, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    logits = scale * torch.randn(8, classes, generator=torch.Generator().manual_seed(3))
    return logits, torch.arange(8) % classes


@LOSS_CHECKS.check(remedy="return the mean over the batch as a tensor without dimensions", after="entry-signature")
def loss_scalar(subject: LossSubject) -> str:
    """It gives one finite number for 2 and for 5 classes."""
    values = [subject.run(*_sample(classes)) for classes in (2, 5)]
    if not all(bool(torch.isfinite(value)) for value in values):
        raise FaultError(f"it gave {values[0]:.3g} and {values[1]:.3g}")
    return f"{values[0]:.3g} and {values[1]:.3g}"


@LOSS_CHECKS.check(remedy="compute it from the logits with differentiable operations of torch", after="loss-scalar")
def loss_gradient(subject: LossSubject) -> str:
    """It has a finite gradient, also for logits of +-1000."""
    for scale in (1.0, 1000.0):
        logits, labels = _sample(scale=scale)
        logits.requires_grad_()
        value = subject.run(logits, labels)
        if not value.requires_grad:
            raise FaultError("it does not depend on the logits in a way that torch can differentiate")
        value.backward()  # type: ignore[no-untyped-call]
        if logits.grad is None or not bool(torch.isfinite(logits.grad).all()) or not bool(torch.isfinite(value)):
            raise FaultError(f"for logits of {scale:g} loss or gradient is not finite", "use log_softmax, not the logarithm of softmax")
    return "finite"


@LOSS_CHECKS.check(remedy="the loss must fall when the logit of the right class grows", after="loss-gradient")
def loss_order(subject: LossSubject) -> str:
    """Right and certain costs less than wrong and certain."""
    labels = torch.arange(8) % 2
    right = 5.0 * torch.nn.functional.one_hot(labels, 2).float()
    good, bad = subject.run(right, labels).item(), subject.run(right.flip(1), labels).item()
    if not good < bad:
        raise FaultError(f"right answers cost {good:.3g} and wrong ones {bad:.3g}")
    return f"{good:.3g} < {bad:.3g}"


@LOSS_CHECKS.check(remedy="weigh each frame by class_weights[label], or refuse weights with zoo.errors.UsageError", after="loss-scalar")
def loss_weights(subject: LossSubject) -> str:
    """It honours class weights, or refuses them."""
    logits, labels = _sample()
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
    try:
        weighted = subject.run(logits, labels, torch.tensor([0.1, 10.0]))
    except ZooError as error:
        return f"refused: {error}"
    if torch.equal(weighted, subject.run(logits, labels)):
        raise FaultError("weights of 0.1 and 10 change nothing")
    return "honoured"


@LOSS_CHECKS.check(remedy="use the option, or do not register it", after="loss-scalar")
def loss_options(subject: LossSubject) -> str:
    """Each of its options changes something."""

    def fingerprint(options: dict[str, Any]) -> object:
        return [subject.build(options=options)(*_sample(classes, scale=2.0)).item() for classes in (2, 5)]

    return check_options_used(subject, fingerprint)


@dataclass
class LoggerSubject(EntrySubject):
    """A logger."""

    def log_to(self, folder: Path) -> list[dict[str, object]]:
        """Build one for a run in ``folder``, hand it the records, close it; returns the records as it left them."""
        records = [dict(record) for record in RECORDS]
        try:
            with preserved_state():
                logger = self.entry.load()(run_dir=folder, **self.options)
        except ZooError as error:
            raise NotApplicableError(str(error)) from error
        for record in records:
            logger.log(record)
        logger.close()
        return records


@LOGGER_CHECKS.check(remedy="give it log(record), which takes any mapping, and close()", after="entry-signature")
def logger_logs(subject: LoggerSubject) -> str:
    """It takes the records of a run, values that are missing too, and leaves them unmodified."""
    with tempfile.TemporaryDirectory(prefix="zoo-check-") as folder:
        records = subject.log_to(Path(folder))
        if tuple(records) != RECORDS:
            raise FaultError("it changed a record", "copy a record before changing it; other loggers get the same one")
        return ", ".join(sorted(path.name for path in Path(folder).iterdir())) or "no files"


@LOGGER_CHECKS.check(remedy="write below run_dir only", after="logger-logs")
def logger_place(subject: LoggerSubject) -> str:
    """It writes below the run directory only."""
    with tempfile.TemporaryDirectory(prefix="zoo-check-") as folder, preserved_state():
        place, run = Path(folder) / "here", Path(folder) / "run"
        place.mkdir()
        run.mkdir()
        os.chdir(place)
        subject.log_to(run)
        strays = [path.name for path in (*place.iterdir(), *Path(folder).iterdir()) if path not in (place, run)]
    if strays:
        raise FaultError(f"it wrote {', '.join(strays)} outside the run directory")
    return "nothing elsewhere"


@LOGGER_CHECKS.check(
    remedy="a resumed run builds it again and hands it the records from the start: replace what is there", after="logger-logs"
)
def logger_resumes(subject: LoggerSubject) -> str:
    """It can be built again for the same run, as when a run is resumed."""
    with tempfile.TemporaryDirectory(prefix="zoo-check-") as folder:
        subject.log_to(Path(folder))
        subject.log_to(Path(folder))
    return "built twice"


@dataclass
class DatasetSubject(EntrySubject):
    """A data set.

    Attributes:
        root: the folder that it is built in; ``None`` leaves its checks out.
    """

    root: Path | None = None

    @cached_property
    def dataset(self) -> DataSet:
        """The data set, built. Raises: NotApplicableError: without a root. FaultError: it is no DataSet."""
        if self.root is None:
            raise NotApplicableError("building it may fetch files; 'zoo plugins check --build-data' or check_dataset() does it")
        with preserved_state():
            built = self.entry.load()(root=self.root, **self.options)
        if not isinstance(built, DataSet):
            raise FaultError(f"build gave {type(built).__name__}, expected a zoo.DataSet")
        return built


@DATASET_CHECKS.check(remedy="return zoo.DataSet(name, manifest, pipeline, labels)", after="entry-signature")
def dataset_builds(subject: DatasetSubject) -> str:
    """It builds a data set that has frames."""
    if not len(subject.dataset.manifest):
        raise FaultError("it has no frames")
    return f"{len(subject.dataset.manifest)} frames"


@DATASET_CHECKS.check(remedy="label every row with one of the labels, and keep all frames of a target in one split", after="dataset-builds")
def dataset_rows(subject: DatasetSubject) -> str:
    """Every row has one of its labels, and no target is in two splits."""
    data = subject.dataset
    for row in data.manifest:
        data.class_index(row)
    check_splits(data.manifest.rows)
    return ", ".join(
        f"{split or 'no split'} {len([r for r in data.manifest if r.split == split])}" for split in ("train", "val", "test", "")
    )


@DATASET_CHECKS.check(remedy="let open(row) return a zoo.Frame, and give a pipeline that takes it", after="dataset-builds")
def dataset_opens(subject: DatasetSubject) -> str:
    """The first frame opens, and its default pipeline takes it."""
    data = subject.dataset
    frame = data.open(data.manifest.rows[0])
    image = Pipeline(data.pipeline).run_frame(frame)
    return f"{'x'.join(map(str, frame.shape))} to {'x'.join(map(str, image.shape))}"
