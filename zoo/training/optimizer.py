"""Optimizers with decay on weights alone, the learning-rate schedule, and their state by parameter name."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from zoo.errors import StorageError
from zoo.training.config import TrainSettings

WIDTH = 256  # inputs up to which a layer learns at the full rate of AdamW
BETA2 = 0.99  # AdamW's second moment: runs of a hundred steps see too little of the usual 0.999


def make_optimizer(model: nn.Module, settings: TrainSettings) -> Optimizer:
    """Return AdamW or SGD with Nesterov momentum, fused where the device allows.

    Matrices and kernels decay; vectors (biases, normalisation) do not. Adam moves every weight by about the learning rate, so the output
    of a layer moves by that times its number of inputs: with one rate for all, the 16,896 inputs of hrcn's first linear layer throw the
    head about while its convolutions hardly move. Matrices with more than `WIDTH` inputs therefore get the rate times `WIDTH` / inputs,
    as in Yang & Hu 2021 (arXiv:2011.14522). Each group lists its parameters by name under ``names``, which the checkpoint needs.
    """
    chosen: dict[tuple[float, float], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            inputs = parameter[0].numel() if parameter.ndim > 1 else 1
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            scale = min(1.0, WIDTH / inputs) if settings.optimizer == "adamw" else 1.0
            chosen.setdefault((decay, scale), []).append((name, parameter))
    groups: list[dict[str, Any]] = [
        {"params": [p for _, p in members], "names": [n for n, _ in members], "weight_decay": decay, "rate_scale": scale}
        for (decay, scale), members in chosen.items()
    ]
    lr = settings.lr or 0.0
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in model.parameters())
    if settings.optimizer == "sgd":
        return SGD(groups, lr=lr, momentum=settings.momentum, nesterov=settings.momentum > 0, fused=fused)
    return AdamW(groups, lr=lr, betas=(settings.momentum, BETA2), fused=fused)


def rate_at(step: int, total: int, settings: TrainSettings) -> float:
    """Return the learning rate of step ``step`` (from 0) of ``total``: linear warm-up, then a half cosine down to 0, constant, or in steps.

    ``total`` is the same number of steps for each epoch. As torch's ``MultiStepLR``, a milestone m multiplies the rate by ``gamma`` from
    the first step after m epochs on.
    """
    peak = settings.lr or 0.0
    warmup = min(round(settings.warmup * total), total - 1)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if settings.schedule == "constant":
        return peak
    if settings.schedule == "step":
        epoch = step * settings.epochs // total
        return float(peak * settings.gamma ** sum(epoch >= milestone for milestone in settings.milestones))
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every parameter group this learning rate, times its own scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_scale"]


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as ``optimizer/<parameter>/<slot>`` tensors; the tensors are its own, not copies."""
    tensors: dict[str, Tensor] = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for slot, value in optimizer.state.get(parameter, {}).items():
                if value is not None:
                    tensors[f"optimizer/{name}/{slot}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return tensors


def restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put saved state back. Raises: StorageError: it belongs to another set of parameters."""
    slots: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            name, _, slot = key.removeprefix("optimizer/").rpartition("/")
            slots.setdefault(name, {})[slot] = value
    state: dict[int, dict[str, Tensor]] = {}
    index = 0
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            saved = slots.pop(name, {})
            # Fused kernels walk raw memory, so the slots need the strides of their parameter (channels_last).
            state[index] = {slot: _as_parameter(value, parameter) for slot, value in saved.items()}
            index += 1
    if slots:
        raise StorageError(f"the checkpoint holds optimizer state of {sorted(slots)[0]!r}, a parameter that the model does not have")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _as_parameter(value: Tensor, parameter: Tensor) -> Tensor:
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape and value.ndim else value
