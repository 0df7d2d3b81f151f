"""The processes that train one model together: each works off its share of every batch, and all have the same weights after every step.

They are a process group of torch.distributed, made by `join` where accelerate or torchrun started this process, and by Ray Train itself
where that did. A process that nobody started with others is a company of one, and nothing here does anything.
"""

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import distributed


def join() -> None:
    """Meet the other processes, if the environment says that there are some and nobody has done so yet. Blocks until all are there."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def device() -> Any:
    """Where this process's model belongs: on the GPU that the launcher gave it, or on the processor where there is none."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if torch.cuda.is_available() else torch.device("cpu")


def wait() -> None:
    """Go on when all are here: what the first has written is there for everybody."""
    if distributed.is_initialized():
        distributed.barrier()


def leave() -> None:
    """Part from the others, at the end of the program."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def count() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the process that writes files and reports."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def share(rows: Sequence[int]) -> list[int]:
    """The part of `rows` that is this process's: every row is somebody's."""
    return list(rows[distributed.get_rank() :: distributed.get_world_size()]) if count() > 1 else list(rows)


def add_up(tensors: Sequence[Any]) -> None:
    """Put the sum over all processes into each tensor, in one exchange for all of a kind."""
    if count() == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def add_up_number(number: float, device: Any = "cpu") -> float:
    """The sum of a number over all processes, the same for each of them to the last bit."""
    if count() == 1:
        return number
    total = torch.tensor(number, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return float(total)


def agree(number: float, device: Any = "cpu") -> float:
    """The first process's number: clocks differ, and all must stop at the same step."""
    if count() == 1:
        return number
    told = torch.tensor(number, dtype=torch.float64, device=device)
    distributed.broadcast(told, 0)
    return float(told)
