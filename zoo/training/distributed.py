"""Several processes that train one model: what they exchange, and how they learn that one of them has failed.

Every process holds the whole model and takes its part of each batch. The logits of the parts are gathered, so each process computes the
loss of the whole batch, whatever the loss is, and takes the same decisions from it; gradients are summed. The results therefore equal
those of one process up to the order of additions, and exactly the same bits come out for the same number of processes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from zoo.data.loader import part_of
from zoo.data.split import draw
from zoo.errors import InterruptedRunError, PeerError, UsageError, ZooError
from zoo.training.launch import Launch

TIMEOUT = timedelta(minutes=10)  # for one exchange; a process that died is noticed at once, this is for one that hangs
BUCKET_ELEMENTS = 2**22  # gradients are summed in pieces of 16 MiB
POLL_S = 0.05

Result = TypeVar("Result")


class Ranks:
    """The processes of one training, seen from one of them. With one process every method is free and changes nothing.

    Args:
        launch: place of this process.
        store: where the processes leave each other messages; ``None`` with one process.
    """

    def __init__(self, launch: Launch, store: Store | None = None) -> None:
        self.launch, self.rank, self.size = launch, launch.rank, launch.size
        self.writes = launch.writes
        self._store = store
        self._messages = 0

    def __repr__(self) -> str:
        return f"Ranks({self.rank} of {self.size})"

    @property
    def part(self) -> tuple[int, int]:
        """``(rank, size)``, as `zoo.data.loader.Loader` takes it."""
        return self.rank, self.size

    def device(self, device: torch.device) -> torch.device:
        """Return the GPU of this process for ``cuda`` without a number, and any other device as it is.

        Raises:
            UsageError: there are fewer GPUs than processes on this machine, or all would use the same one.
        """
        if self.size == 1 or device.type != "cuda":
            return device
        if ":" in str(device):
            raise UsageError(f"got device {device} for {self.size} processes; pass --device cuda, then each takes a GPU of its own")
        gpus, wanted = torch.cuda.device_count(), self.launch.local_size
        if gpus < wanted:
            raise UsageError(f"got {wanted} processes on this machine with {gpus} GPUs; start at most {gpus}, or pass --device cpu")
        torch.cuda.set_device(self.launch.local_rank)
        return torch.device("cuda", self.launch.local_rank)

    def seed(self, *words: int) -> None:
        """Seed torch's generators, which dropout draws from, by numbers such as (seed, epoch, batch) and the rank."""
        torch.manual_seed(draw(words[0], "layers", *words[1:], self.rank))

    def first(self, work: Callable[[], Result]) -> Result:
        """Let rank 0 do ``work``, then all others; they stop if it fails on rank 0. The wait has no limit.

        Raises:
            PeerError: on the others, if rank 0 failed. What ``work`` raises passes through.
        """
        if self.writes:
            return self._announce(work)
        self._await()
        return work()

    def only_first(self, work: Callable[[], str]) -> str:
        """Let rank 0 do ``work`` and return its text in all processes; errors as `first`."""
        return self._announce(work) if self.writes else self._await()

    def highest(self, number: int) -> int:
        """Return the highest of the numbers that the processes give."""
        if self.size == 1:
            return number
        tensor = torch.tensor([number])
        with _exchange(self.rank):
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def gather(self, part: Tensor, total: int) -> Tensor:
        """Return ``(total, ...)``: the parts of all processes in the order of the ranks.

        A loss of the result, computed by every process, has for each its own part of the gradient.

        Args:
            part: ``(n, ...)``, rows of this process, as many as `part_of` says. total: rows of all processes.
        """
        if self.size == 1:
            return part
        gathered: Tensor = _Gather.apply(part, total, self)  # type: ignore[no-untyped-call]
        return gathered

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes in place. A parameter that none of them used keeps ``None``."""
        if self.size == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        used = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.int32)
        with _exchange(self.rank):
            dist.all_reduce(used)
        for parameter, count in zip(trained, used.tolist(), strict=True):
            if count and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([parameter.grad for parameter in trained if parameter.grad is not None]):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            with _exchange(self.rank):
                dist.all_reduce(flat)
            for gradient, piece in zip(bucket, torch.split(flat, [gradient.numel() for gradient in bucket]), strict=True):
                gradient.copy_(piece.view(gradient.shape))

    def copy_from_first(self, model: nn.Module) -> None:
        """Give the parameters and buffers of ``model`` the values that they have in rank 0."""
        if self.size == 1:
            return
        with torch.no_grad():
            for tensor in model.state_dict().values():
                held = tensor.contiguous()
                with _exchange(self.rank):
                    dist.broadcast(held, 0)
                tensor.copy_(held)

    def _announce(self, work: Callable[[], Result]) -> Result:
        """Do the work of rank 0 and tell the others how it went."""
        if self._store is None:
            return work()
        self._messages += 1
        key = f"zoo/message/{self._messages}"
        try:
            result = work()
        except BaseException as err:
            with _exchange(self.rank):
                self._store.set(key, json.dumps({"error": str(err) or type(err).__name__, "exit_code": getattr(err, "exit_code", 1)}))
            raise
        with _exchange(self.rank):
            self._store.set(key, json.dumps({"text": result if isinstance(result, str) else ""}))
        return result

    def _await(self) -> str:
        """Wait until rank 0 has done its work. Polling lets signals through, which a blocking wait would hold up."""
        assert self._store is not None
        self._messages += 1
        key = f"zoo/message/{self._messages}"
        with _exchange(self.rank):
            while not self._store.check([key]):
                time.sleep(POLL_S)
            message: dict[str, Any] = json.loads(self._store.get(key))
        if "error" in message:
            raise PeerError(f"rank {self.rank} stops, for rank 0 failed: {message['error']}", exit_code=int(message["exit_code"]))
        return str(message["text"])


@contextmanager
def join(launch: Launch) -> Iterator[Ranks]:
    """Connect the processes for a ``with`` block; with one process there is nothing to connect.

    CPU tensors go through gloo, those on a GPU through NCCL. Workers that ``torchrun`` starts again would find the addresses of those that
    died in the store that it keeps for them, and fail or wait for them for ever. ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1`` helps only
    where it is set for ``torchrun`` itself, so each start has keys of its own here.

    Raises:
        PeerError: the processes do not find each other. UsageError: this process is connected to others already.
    """
    if launch.size == 1:
        yield Ranks(launch)
        return
    if dist.is_initialized():
        raise UsageError("got a process group that is there already; zoo.train makes its own, so destroy that one before")
    threads = torch.get_num_threads()
    with _exchange(launch.rank):
        store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            store = PrefixStore(f"zoo/start/{launch.restarts}", store)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        try:
            yield Ranks(launch, store)
        except InterruptedRunError:
            _end_together(launch.rank)
            raise
        _end_together(launch.rank)
    finally:
        torch.set_num_threads(threads)
        dist.destroy_process_group()


def _end_together(rank: int) -> None:
    """Wait for the others, for a process that leaves early takes away what they still use."""
    with _exchange(rank):
        dist.barrier()


def take_threads(launch: Launch) -> int | None:
    """Give this process its share of the cores where ``torchrun`` left it one; return the number, or ``None`` if nothing was changed.

    ``torchrun`` sets ``OMP_NUM_THREADS=1`` for its workers if the user set nothing, which leaves the other cores of a CPU training idle.
    """
    share = len(os.sched_getaffinity(0)) // launch.local_size if hasattr(os, "sched_getaffinity") else 1
    if launch.size == 1 or os.environ.get("OMP_NUM_THREADS") != "1" or share <= 1:
        return None
    torch.set_num_threads(share)
    return share


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Add up ``tensor`` over all processes in place and return it."""
    with _exchange(dist.get_rank()):
        dist.all_reduce(tensor)
    return tensor


class _Gather(torch.autograd.Function):
    """The rows of all processes; backward keeps the own ones, for each process computes the whole loss."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, total: int, ranks: Ranks) -> Tensor:
        spans = [part_of(total, (rank, ranks.size)) for rank in range(ranks.size)]
        ctx.span = spans[ranks.rank]
        own = part.new_zeros((max(len(span) for span in spans), *part.shape[1:]))
        own[: len(part)] = part
        rows = [torch.empty_like(own) for _ in spans]
        with _exchange(ranks.rank):
            dist.all_gather(rows, own)
        return torch.cat([row[: len(span)] for row, span in zip(rows, spans, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.span.start : ctx.span.stop], None, None


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Put gradients of one type together until they fill a bucket; a larger one has a bucket of its own."""
    bucket: list[Tensor] = []
    held = 0
    for gradient in gradients:
        full = held + gradient.numel() > BUCKET_ELEMENTS
        if bucket and (full or (gradient.dtype, gradient.device) != (bucket[0].dtype, bucket[0].device)):
            yield bucket
            bucket, held = [], 0
        bucket.append(gradient)
        held += gradient.numel()
    if bucket:
        yield bucket


@contextmanager
def _exchange(rank: int) -> Iterator[None]:
    """Turn what torch raises when a process is gone into one error."""
    try:
        yield
    except RuntimeError as err:
        if isinstance(err, ZooError):
            raise
        reason = str(err).strip().partition("\n")[0]
        raise PeerError(f"rank {rank} has lost the other processes, of which one stopped or hangs; see its own message ({reason})") from err
