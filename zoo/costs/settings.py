"""How a step is made: what zoo can change to make it smaller."""

from __future__ import annotations

from typing import NamedTuple


class Settings(NamedTuple):
    """How a step is made.

    Attributes:
        batch: frames per pass.
        precision: ``fp32``, or ``bf16`` for bfloat16 autocast.
        optimizer: ``adamw``, or ``sgd`` with momentum; of no effect in inference.
        accumulate: passes per optimizer step.
        ema: an average of the weights is kept beside them.
        stream: the stem is streamed (`zoo.models.stream_stem`) in training; in inference `zoo.models.prepare_inference` decides that.
        checkpoint: blocks keep their input only (`zoo.models.checkpoint_blocks`) in training.
    """

    batch: int = 1
    precision: str = "fp32"
    optimizer: str = "adamw"
    accumulate: int = 1
    ema: bool = False
    stream: bool = False
    checkpoint: bool = False
