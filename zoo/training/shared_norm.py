"""BatchNorm over a batch whose frames are spread over several processes.

The layers keep their class's parameters, buffers and state dict, and their eval mode; in training mode the statistics are those of the
whole batch, summed in float64 over all processes. torch's own ``SyncBatchNorm`` refuses tensors on the CPU.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from zoo.errors import UsageError
from zoo.models.streaming import built_class, set_built_class
from zoo.training.distributed import sum_over_ranks


def share_norm_statistics(model: nn.Module) -> int:
    """Let every BatchNorm layer of ``model`` use the statistics of the whole batch in training mode; return how many there are.

    Layers keep their identity, so references to them stay valid; copies of the model behave alike. All processes have to run the same
    layers in the same order, forward and backward.

    Raises:
        UsageError: a layer derives from BatchNorm and computes something of its own, which cannot be known here.
    """
    count = 0
    for name, module in model.named_modules():
        if not isinstance(module, _BatchNorm) or isinstance(module, SyncBatchNorm | _SharedNorm):
            continue
        kind = built_class(module)
        if kind.forward is not _BatchNorm.forward:
            raise UsageError(
                f"layer {name!r} is a {kind.__name__} with a forward of its own, whose statistics cannot be shared by several processes; "
                "train this model in one process"
            )
        # torch.fx takes modules of torch.nn for leaves by the place of their class.
        set_built_class(module, type(f"Shared{kind.__name__}", (_SharedNorm, kind), {"__module__": kind.__module__}))
        count += 1
    return count


class _SharedNorm(_BatchNorm):
    """Stands before torch's class in the method resolution order of a layer."""

    @staticmethod
    def sum_over_ranks(tensor: Tensor) -> Tensor:
        """Add up a tensor over all processes, differentiable; a streamed stem takes its statistics through it."""
        total: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
        return total

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C)`` or ``(N, C, ...)``, of which each process has some rows."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        output, mean, variance, count = _Normalize.apply(input, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        if self.track_running_stats and self.running_mean is not None:
            self._update(mean, variance, int(count))
        return cast(Tensor, output)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics as torch does: the variance unbiased, ``momentum=None`` for the plain average."""
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * (count / (count - 1))
        for running, value in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.copy_((1 - factor) * running.double() + factor * value)


class _Sum(torch.autograd.Function):
    """The sum over all processes; each of them has a part of the gradient of every summand."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return sum_over_ranks(tensor.clone())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return sum_over_ranks(gradient.clone())


class _Normalize(torch.autograd.Function):
    """Batch normalization whose sums run over all processes; also returns mean and variance ``(C,)`` float64 and the count."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels = x.shape[1]
        others = [dim for dim in range(x.ndim) if dim != 1]
        shape = [1, channels] + [1] * (x.ndim - 2)
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        own = torch.tensor([x.numel() // channels], dtype=torch.float64, device=x.device)
        sums = sum_over_ranks(torch.cat([wide.sum(others, dtype=torch.float64), own]))
        count = sums[-1]
        if count <= 1:
            raise ValueError(f"expected more than 1 value per channel in training, got {int(count)} in all processes together")
        mean = sums[:-1] / count
        # Squares of deviations lose no digits; the mean is rounded to the input's type first, and the second sum makes up for that.
        centre = mean.to(wide.dtype)
        deviation = wide - centre.view(shape)
        squares = sum_over_ranks(deviation.square().sum(others, dtype=torch.float64))
        variance = squares / count - (mean - centre).square()
        scale = (variance + eps).rsqrt()
        normal = deviation * scale.to(wide.dtype).view(shape)
        output = normal if weight is None else normal * weight.view(shape)
        if bias is not None:
            output = output + bias.view(shape)
        ctx.save_for_backward(x, weight, centre, scale, count)
        ctx.has_bias = bias is not None
        ctx.mark_non_differentiable(mean, variance, count)
        return output.to(x.dtype), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight, centre, scale, count = ctx.saved_tensors
        others = [dim for dim in range(x.ndim) if dim != 1]
        shape = [1, x.shape[1]] + [1] * (x.ndim - 2)
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        gradient = gradient.to(wide.dtype)
        normal = (wide - centre.view(shape)) * scale.to(wide.dtype).view(shape)
        own = torch.stack([gradient.sum(others, dtype=torch.float64), (gradient * normal).sum(others, dtype=torch.float64)])
        # Weight and bias get the share of this process: all gradients of parameters are summed over the processes later.
        grad_weight = own[1].to(weight.dtype) if weight is not None and ctx.needs_input_grad[1] else None
        grad_bias = own[0].to(gradient.dtype) if ctx.has_bias and ctx.needs_input_grad[2] else None
        if not ctx.needs_input_grad[0]:
            return None, grad_weight, grad_bias, None
        means = (sum_over_ranks(own.clone()) / count).to(wide.dtype)
        factor = scale.to(wide.dtype) if weight is None else scale.to(wide.dtype) * weight
        inner = gradient - means[0].view(shape) - normal * means[1].view(shape)
        return (inner * factor.view(shape)).to(x.dtype), grad_weight, grad_bias, None
