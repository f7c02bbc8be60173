"""Processes that train together: who this one is, and how gradients of all become one; one process works alike.

There is no DDP wrapper: subnets use different parameters on different ranks, and gradients are ready only after the
last subnet's backward. So each step reduces one flat vector, whatever was used (see pytorch/pytorch#69031 for what a
wrapper does to parameters that the last backward did not use).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ofa import console
from ofa.train import errors
from ofa.train.waiting import CROWDED, busy_at_start

T = TypeVar("T")
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process among ``size`` ones, and the device it computes on."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Say whether this is the process that writes files and talks."""
        return self.rank == 0

    def shards(self, count: int) -> range:
        """Return the shards of a step that this process computes; raises UsageInvalid where there are too few for all.

        Where they do not come out even, the first processes take one more.
        """
        each, more = divmod(count, self.size)
        if not each:
            raise errors.shards_too_few(count, self.size)
        first = self.rank * each + min(self.rank, more)
        return range(first, first + each + (self.rank < more))

    def sum(self, vector: Tensor) -> None:
        """Add up a vector over all processes, in place and equally on all."""
        if self.size > 1:
            dist.all_reduce(vector)

    def from_first(self, mine: T) -> T:
        """Return what the first process brings."""
        if self.size == 1:
            return mine
        found = [mine]
        dist.broadcast_object_list(found, 0)
        return found[0]

    def gathered(self, mine: T) -> list[T]:
        """Return what every process brings, by rank."""
        if self.size == 1:
            return [mine]
        found: list[T | None] = [None] * self.size
        dist.all_gather_object(found, mine)
        return found  # type: ignore[return-value]  # every place was filled


@contextmanager
def _fitting() -> Iterator[None]:
    """Say in our words that a GPU's memory is full."""
    try:
        yield
    except torch.OutOfMemoryError as fault:
        raise errors.gpu_full(str(fault).partition("\n")[0]) from fault


@contextmanager
def computing_on(threads: int | None) -> Iterator[None]:
    """Let torch compute on so many CPU threads (None: on its own number of them), and put that back at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if threads is None else threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def joined(device: str | None = None, threads: int | None = None) -> Iterator[Ranks]:
    """Join the processes that torchrun started (or none), each on its own GPU where there are any; leave at the end.

    Each computes on so many CPU ``threads`` as `computing_on` takes them.
    Raises UsageInvalid where ``device`` is neither "cpu" nor "cuda" (or "cuda:1" and the like), or is not there, and
    where what is done inside needs more memory than a GPU has.
    """
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind.startswith("cuda"):
        if not torch.cuda.is_available() or local >= torch.cuda.device_count():
            raise errors.no_gpu(local, torch.cuda.device_count() if torch.cuda.is_available() else 0)
        chosen = _cuda(kind, local)
        torch.cuda.set_device(chosen)
    elif kind == "cpu":
        chosen = torch.device(kind)
    else:
        raise errors.no_device(kind)
    if size == 1:
        with _fitting(), computing_on(threads):
            yield Ranks(device=chosen)
        return
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        with _fitting(), computing_on(threads):
            yield Ranks(rank=dist.get_rank(), size=size, device=chosen)
    finally:
        dist.destroy_process_group()


def tell_crowded(ranks: Ranks) -> None:
    """Warn where several threads are to compute on cores that other work keeps busy."""
    threads = torch.get_num_threads()
    if ranks.first and ranks.device.type == "cpu" and threads > 1 and (share := busy_at_start()) >= CROWDED:
        console.warn(errors.crowded(share, threads))


def _cuda(kind: str, local: int) -> torch.device:
    """Return the GPU that is named, or else that of the process's number on this machine."""
    try:
        chosen = torch.device(kind if ":" in kind else f"{kind}:{local}")
    except RuntimeError as fault:
        raise errors.no_device(kind) from fault
    if chosen.type != "cuda":
        raise errors.no_device(kind)
    if (chosen.index or 0) >= torch.cuda.device_count():
        raise errors.no_gpu(chosen.index or 0, torch.cuda.device_count())
    return chosen


def reduced(parameters: Sequence[nn.Parameter], ranks: Ranks, numbers: Tensor) -> Tensor:
    """Add up the gradients of all processes in place, and ``numbers`` float[n] beside them, which is returned.

    A parameter that no process used keeps gradient None, so that the optimiser leaves it alone; one that some process
    used gets a gradient on all. One all-reduce, of gradients, marks of use and numbers together.
    """
    if ranks.size == 1:
        return numbers
    marks = torch.tensor([float(p.grad is not None) for p in parameters], device=ranks.device)
    parts = [(torch.zeros_like(p) if p.grad is None else p.grad).float().flatten() for p in parameters]
    flat = torch.cat([*parts, marks, numbers.to(ranks.device, torch.float32)])
    ranks.sum(flat)
    sizes = [part.numel() for part in parts]
    *sums, used, found = torch.split(flat, [*sizes, len(parts), len(numbers)])
    for parameter, total, mark in zip(parameters, sums, used.tolist(), strict=True):
        parameter.grad = total.view_as(parameter).to(parameter.dtype) if mark else None
    return found.to(numbers.device)
