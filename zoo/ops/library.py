"""Registration of an op with ``torch.library``: one schema without and one with ``out``, their kernels, and the shape of the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_LIBRARY = torch.library.Library("zoo", "FRAGMENT")  # type: ignore[no-untyped-call]
_KERNELS: dict[str, Callable[..., Any]] = {}  # of ops that `define_op` made


def register_op(
    name: str,
    arguments: str,
    extra: str,
    *,
    allocate: Callable[..., Tensor],
    write: Callable[..., None],
) -> None:
    """Define ``zoo::<name>(arguments, extra) -> Tensor`` and ``zoo::<name>.out(arguments, *, Tensor(a!) out) -> ()``.

    The second returns nothing: one that returned its ``out`` would fail ``opcheck`` and ``torch.compile(fullgraph=True)``. Kernels choose
    between compiled code and pure torch themselves, so one registration serves every device.

    Args:
        name: name of the op.
        arguments: schema of what both forms take.
        extra: schema of what only the first takes, such as the dtype of its result; may be empty.
        allocate: called with all arguments of the first form, real or fake; returns the uninitialised result.
        write: called with ``arguments`` and ``out=``; fills ``out``.
    """
    count = len(extra.split(",")) if extra else 0

    def functional(*args: Any) -> Tensor:
        out = allocate(*args)
        write(*args[: len(args) - count], out=out)
        return out

    def fake_out(*args: Any, out: Tensor) -> None:
        return None

    _LIBRARY.define(f"{name}({arguments}{', ' + extra if extra else ''}) -> Tensor")  # type: ignore[no-untyped-call]
    _LIBRARY.define(f"{name}.out({arguments}, *, Tensor(a!) out) -> ()")  # type: ignore[no-untyped-call]
    _LIBRARY.impl(name, functional, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    _LIBRARY.impl(f"{name}.out", write, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"zoo::{name}", allocate, lib=_LIBRARY)
    torch.library.register_fake(f"zoo::{name}.out", fake_out, lib=_LIBRARY)


def define_op(schema: str, kernel: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Define an op that allocates its results, such as one with several of them or a part of a backward pass.

    Args:
        schema: name, arguments and results, as ``torch.library`` takes it: ``"halves(Tensor x) -> (Tensor, Tensor)"``.
        kernel: the op, on every device. fake: called with the same arguments, whose tensors are fake; returns uninitialised results.
    """
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)  # type: ignore[no-untyped-call]
    _LIBRARY.impl(name, kernel, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"zoo::{name}", fake, lib=_LIBRARY)
    _KERNELS[f"zoo::{name}"] = kernel


def define_out(schema: str, write: Callable[..., None]) -> None:
    """Define the form of an op of `define_op` that writes into ``out`` and, as in `register_op`, returns nothing.

    Args:
        schema: ``"halves.out(Tensor x, *, Tensor(a!) out) -> ()"``.
        write: the op, on every device; called with the arguments of the schema, ``out`` by name.
    """

    def fake(*args: Any, out: Tensor) -> None:
        return None

    name = schema.partition("(")[0]
    _LIBRARY.define(schema)  # type: ignore[no-untyped-call]
    _LIBRARY.impl(name, write, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"zoo::{name}", fake, lib=_LIBRARY)


def kernel_of(operation: torch._ops.OpOverload) -> Callable[..., Any] | None:
    """Return what computes an op of `define_op`, and ``None`` for all others: with fake tensors it shows what memory it needs."""
    return _KERNELS.get(operation.name())  # type: ignore[no-untyped-call]


def overlapping(a: Tensor, b: Tensor) -> bool:
    """Whether the memory between the first and the last element of two tensors that are not empty meets."""
    if a.device != b.device or a.numel() == 0 or b.numel() == 0:
        return False
    (a_first, a_end), (b_first, b_end) = (
        (t.data_ptr(), t.data_ptr() + (1 + sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True))) * t.element_size())
        for t in (a, b)
    )
    return bool(a_first < b_end and b_first < a_end)
