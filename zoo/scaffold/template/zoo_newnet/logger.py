"""newnet-lines: a logger to start from."""

from collections.abc import Mapping
from pathlib import Path


class Lines:
    """Writes ``epochs.txt`` into the run directory; a resumed run gives the records before the checkpoint again."""

    def __init__(self, run_dir: Path) -> None:
        self.path = Path(run_dir) / "epochs.txt"
        self.lines: list[str] = []

    def log(self, record: Mapping[str, object]) -> None:
        """Take one line of metrics.jsonl; a value that is missing is None."""
        if record.get("event") == "epoch":
            self.lines.append(f"epoch {record.get('epoch')}: loss {record.get('train_loss')}\n")

    def close(self) -> None:
        """Called when the run ends or stops."""
        self.path.write_text("".join(self.lines))
