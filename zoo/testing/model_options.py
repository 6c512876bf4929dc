"""The check that the options of an architecture do something."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from zoo.testing.check import CheckList, NotApplicableError
from zoo.testing.entry_checks import check_options_used
from zoo.testing.subject import ModelSubject

CHECKS = CheckList()


@CHECKS.check(remedy="use the option in build, or do not register it", after="model-logits")
def model_options(subject: ModelSubject) -> str:
    """Each of its options changes something."""
    if not subject.entry.options:
        raise NotApplicableError("it has no options")
    default: object = None

    def fingerprint(options: dict[str, Any]) -> object:
        # Layers, shapes and settings tell most options without any weights; where they look as by default, the logits are compared.
        shell = subject.shell(options=options)
        seen = repr(shell), [(name, tuple(value.shape)) for name, value in shell.named_parameters()], _settings(shell)
        if seen != default:
            return seen
        model = subject.build(options=options)
        return seen, [subject.run(model.train(mode), subject.frames).tolist() for mode in (True, False)]

    default = fingerprint(subject.built_with)
    return check_options_used(subject, fingerprint)


def _settings(model: nn.Module) -> list[tuple[str, str, object]]:
    """Plain attributes of all layers."""
    plain = (bool, int, float, str, tuple, torch.dtype)
    return [(name, key, value) for name, module in model.named_modules() for key, value in vars(module).items() if isinstance(value, plain)]
