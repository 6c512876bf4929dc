"""The logger ``tensorboard``: curves for ``tensorboard --logdir runs``. Needs the extra of the same name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from zoo.errors import UsageError

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as err:
    raise UsageError(
        f"the logger tensorboard needs a package that cannot be imported ({err}); run pip install 'celestial-zoo[tensorboard]'"
    ) from err

FOLDER = "tensorboard"


class TensorBoardLogger:
    """Writes every number of a record as a scalar ``<event>/<key>`` at its optimizer step, and ``config.toml`` as text.

    A resumed run gives it the records before the checkpoint again, so its earlier event files are removed first: no point is there twice.

    Args:
        run_dir: the run directory; the files go to its folder ``tensorboard``.
    """

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        folder = Path(run_dir) / FOLDER
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = SummaryWriter(str(folder))
        config = Path(run_dir) / "config.toml"
        if config.is_file():
            self._writer.add_text("config", f"```toml\n{config.read_text()}\n```")

    def log(self, record: Mapping[str, object]) -> None:
        """Take one record; what is no number is left out, except the reason why a step was skipped."""
        event, step = str(record.get("event")), record.get("step")
        place = step if isinstance(step, int) else None
        for key, value in record.items():
            if key not in ("step", "epoch") and isinstance(value, int | float) and not isinstance(value, bool):
                self._writer.add_scalar(f"{event}/{key}", value, place)
        if "reason" in record:
            self._writer.add_text(f"{event}/reason", str(record["reason"]), place)
        if event != "step":
            self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
