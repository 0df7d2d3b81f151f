"""The arithmetic of training: which precision a machine multiplies in, a model that computes in it, and the exact masters of its weights.

Where the hardware multiplies in bf16 the model does, while what is trained is kept and changed in f32: its steps are too small for bf16.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from shoal.distil import company

_BETAS = (0.9, 0.99)


def choose_precision(wanted: Literal["auto", "bf16", "f32"] = "auto") -> Literal["bf16", "f32"]:
    """bf16 where the hardware multiplies in it, else f32."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "f32"
    with contextlib.suppress(OSError):
        if "amx_bf16" in Path("/proc/cpuinfo").read_text("utf-8", "replace"):
            return "bf16"
    return "f32"


@contextlib.contextmanager
def computing(model: Any, precision: Literal["bf16", "f32"]) -> Iterator[None]:
    """Have the model compute in `precision`; its weights are what they were afterwards. Buffers stay as they are: frequencies need f32."""
    exact = [(parameter, parameter.data) for parameter in model.parameters()]
    try:
        if precision == "bf16":
            for parameter, values in exact:
                parameter.data = values.to(torch.bfloat16)
        yield
    finally:
        for parameter, values in exact:
            parameter.data = values
            parameter.grad = None


class Masters:
    """The trained parameters, in f32, and their optimiser. Made before the model's own values are rounded."""

    def __init__(self, model: Any, learning_rate: float, weight_decay: float) -> None:
        self.named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        self.values = [parameter.detach().float().clone().requires_grad_() for _, parameter in self.named]
        self.optimiser = torch.optim.AdamW(self.values, lr=learning_rate, betas=_BETAS, weight_decay=weight_decay)

    def take_gradients(self) -> None:
        """Add what the parameters have to what the masters have: parts of a batch are summed up in f32."""
        for master, (_, parameter) in zip(self.values, self.named, strict=True):
            if parameter.grad is not None:
                gradient = parameter.grad.float()
                master.grad = gradient if master.grad is None else master.grad.add_(gradient)
                parameter.grad = None

    def meet(self) -> None:
        """Add what the other processes of the company have; one that had no rows has nothing to add."""
        if company.count() > 1:
            for master in self.values:
                master.grad = torch.zeros_like(master) if master.grad is None else master.grad
            company.add_up([master.grad for master in self.values])

    def step(self, rate: float, scale: float, most_norm: float) -> None:
        """One step with the gradients times `scale`."""
        gradients = [master.grad for master in self.values if master.grad is not None]
        torch._foreach_mul_(gradients, scale)
        torch.nn.utils.clip_grad_norm_(self.values, most_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.publish()

    @torch.no_grad()
    def publish(self) -> None:
        """Give the masters' values to the model, rounded as it computes."""
        for master, (_, parameter) in zip(self.values, self.named, strict=True):
            parameter.copy_(master)

    def copy(self) -> list[Any]:
        """The values as they are now."""
        return [master.detach().clone() for master in self.values]

    @torch.no_grad()
    def set(self, values: Sequence[Any]) -> None:
        """Take `values`, and give them to the model."""
        for master, value in zip(self.values, values, strict=True):
            master.copy_(value)
        self.publish()
