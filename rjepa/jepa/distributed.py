"""One training over several processes: who computes which rows, and how results and gradients come together.

Nothing here knows a loss. Every process draws the same batch, views and negatives, for all hold the same random state.
The rows of each call of a part of the model (context encoder, target encoder, predictor, heads) are cut into one slice
a process; the outputs are gathered, so that every process sees those of the whole batch and computes the whole loss
from them. Variance, covariance, InfoNCE across problems and means over targets are therefore those of one process, not
averages of per-process ones, which would be others. Each process takes 1 / size of the loss; the gather's adjoint sums
what the processes found, and so do the parameters' gradients at the end: the sum is the gradient of one process up to
float32 rounding, whatever the objective does between the parts. Results are equal within rounding, not bit for bit,
between different numbers of processes; for one number of them they are reproducible.

What this costs: outputs travel twice an update, and the loss itself, which is small, is computed by everyone. It holds
for parts that treat rows independently (no batch norm).
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rjepa.errors import InvalidInputError


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes that train together, as one of them sees it. With one, every method does nothing."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """True for the one that writes files and reports progress."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            dist.barrier()

    def share(self, rows: int) -> slice:
        """This process's rows of `rows`: slices differ by one row at most, and together are all of them."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def check_equal(self, digest: str, update: int) -> None:
        """Make sure that all processes start from the same run (hex digest) at the same update.

        Raises:
            InvalidInputError: they do not; all of them raise it.
        """
        if self.size == 1:
            return
        mine = torch.tensor([*bytes.fromhex(digest), *update.to_bytes(8, "little", signed=True)], dtype=torch.uint8)
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(everyone, mine)
        if not all(torch.equal(mine, other) for other in everyone):
            raise InvalidInputError(
                f"the {self.size} processes do not start from the same data, config and checkpoint",
                cure="let all of them read one RJEPA_HOME, with the same versions of code and torch",
            )

    @contextmanager
    def sharing(self, model: nn.Module) -> Iterator[None]:
        """Within it, each part of `model` computes its slice of the rows it is called with, and returns all rows."""
        if self.size == 1:
            yield
            return
        hooks, whole = [], []

        def cut(part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            rows = next(len(value) for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
            whole.append(rows)
            own = self.share(rows)

            def sliced(value: Any) -> Any:
                return value[own] if isinstance(value, Tensor) and value.ndim and len(value) == rows else value

            return tuple(map(sliced, args)), {name: sliced(value) for name, value in kwargs.items()}

        def join(part: nn.Module, args: Any, output: Any) -> Any:
            rows = whole.pop()
            return _map(lambda tensor: _Gather.apply(tensor, rows, self), output)  # type: ignore[no-untyped-call]

        for part in model.children():
            hooks.append(part.register_forward_pre_hook(cut, with_kwargs=True))
            hooks.append(part.register_forward_hook(join))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def backward(self, loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
        """Backpropagate; every process ends with the whole gradient."""
        (loss / self.size if self.size > 1 else loss).backward()
        if self.size > 1:
            self._sum([parameter.grad for parameter in parameters if parameter.grad is not None])

    def gather(self, part: Tensor, rows: int) -> Tensor:
        """The slices of all processes, one after the other: [own rows, ...] to [rows, ...]."""
        longest = -(-rows // self.size)
        padded = part.new_zeros(longest, *part.shape[1:])
        padded[: len(part)] = part
        everyone = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(everyone, padded)
        lengths = [rows * (rank + 1) // self.size - rows * rank // self.size for rank in range(self.size)]
        return torch.cat([other[:length] for other, length in zip(everyone, lengths, strict=True)])

    def _sum(self, tensors: list[Tensor]) -> None:
        # One message: parameters are many and small.
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))


ALONE: Final = Processes()
"""One process, the default."""


@contextmanager
def started_by_torchrun(device: torch.device | str = "cpu") -> Iterator[Processes]:
    """The group that torchrun started this process in (gloo on the CPU, nccl on GPUs); alone without torchrun.

    Raises:
        InvalidInputError: torchrun's variables are there but the processes do not find each other.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    try:
        # nccl moves what is on a GPU, gloo the rest: fingerprints are compared on the CPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.device(device).type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise InvalidInputError(
            f"the training processes did not find each other ({error})",
            cure="start them with `torchrun --standalone --nproc-per-node N -m rjepa.jepa.worker ...`",
        ) from error
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


class _Gather(torch.autograd.Function):
    """Gather slices; backwards, add up what all processes want of all rows and keep the own slice."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, rows: int, processes: Processes) -> Tensor:
        ctx.own = processes.share(rows)
        return processes.gather(part.contiguous(), rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        summed = gradient.contiguous().clone()
        dist.all_reduce(summed)
        return summed[ctx.own], None, None


def _map(function: Callable[[Tensor], Tensor], output: Any) -> Any:
    """The output of a part (a tensor, a tuple or a dataclass of them, None) with the function applied to each."""
    if isinstance(output, Tensor):
        return function(output)
    if isinstance(output, tuple):
        return tuple(_map(function, value) for value in output)
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        fields = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
        return type(output)(**{name: _map(function, value) for name, value in fields.items()})
    return output
