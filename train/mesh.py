"""The processes of a run: a mesh of data x column ranks under torchrun, or one process alone.

Every process holds one column of the network, or all of them, and gets its part of each minibatch.
The ranks of a column group follow each other, so that torchrun puts them on one machine. With one
process the collectives are skipped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from alexnet.errors import AlexNetError
from train.rendezvous import meet


class MeshError(AlexNetError):
    """Processes that can't share the work, or that were lost."""


@dataclass(kw_only=True)
class Mesh:
    """This process's place among all: `data` of `data_size` parts, `column` of `columns`."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    data: int = 0
    data_size: int = 1
    column: int = 0
    columns: int = 1
    neighbours: int = 1
    """Processes on this machine, this one among them."""
    data_group: dist.ProcessGroup | None = None
    """Processes that hold the same column: they average gradients."""
    column_group: dist.ProcessGroup | None = None
    """Processes that hold the columns of one network: they exchange maps."""

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.data_size * self.columns

    @property
    def rank(self) -> int:
        """Number of this process."""
        return self.data * self.columns + self.column

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks to people."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's part of `count` photos; parts differ by one photo at most."""
        return parts(count, self.data_size)[self.data]

    def sum(self, values: Tensor) -> None:
        """Replace `values` by their sum over all processes."""
        if self.size > 1:
            dist.all_reduce(values)

    def any(self, here: bool) -> bool:
        """Whether something is so in any process."""
        count = torch.tensor([float(here)], device=self.device)
        self.sum(count)
        return count.item() > 0

    def any_column(self, here: bool) -> bool:
        """Whether something is so in any process that holds a column of this one's network."""
        if self.columns == 1:
            return here
        count = torch.tensor([float(here)], device=self.device)
        dist.all_reduce(count, group=self.column_group)
        return count.item() > 0

    def gather(self, value: Any) -> list[Any]:
        """A small picklable object of every process, by rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def from_first(self, value: Any) -> Any:
        """The first process's small picklable object."""
        holder = [value]
        if self.size > 1:
            dist.broadcast_object_list(holder, src=0)
        return holder[0]

    def tensors_from_first(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The first process's named tensors, on the CPU."""
        if self.size == 1:
            return dict(tensors)
        found = {}
        kinds = self.from_first({name: (t.shape, t.dtype) for name, t in tensors.items()})
        for name, (shape, dtype) in kinds.items():
            found[name] = tensors[name] if self.first else torch.empty(shape, dtype=dtype)
            dist.broadcast(found[name], src=0)
        return found

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """A block that ends well in every process or in none, so that nobody waits for ever.

        Processes must not talk to each other inside it, or one that fails is waited for there;
        unless they first make sure that none has, with `any_column` say.

        The first process with an error for people raises it, the others end without a word.
        """
        error: Exception | None = None
        try:
            yield
        except (AlexNetError, OSError) as caught:
            error = caught
        failed = [rank for rank, bad in enumerate(self.gather(error is not None)) if bad]
        if failed and error is not None and failed[0] == self.rank:
            raise error
        if failed:
            raise SystemExit(1)


def parts(count: int, size: int) -> list[slice]:
    """`count` things dealt out to `size`, in order; the first ones get one more."""
    each, more = divmod(count, size)
    starts = [index * each + min(index, more) for index in range(size + 1)]
    return [slice(starts[index], starts[index + 1]) for index in range(size)]


@contextmanager
def open_mesh(*, columns: int = 1, device: str = "cpu") -> Iterator[Mesh]:
    """Join the other processes that torchrun started, if it did.

    Args:
        columns: processes over which the columns of a network are spread.
        device: `cpu` (gloo) or `cuda` (NCCL; a GPU of its own for each process of a machine).

    Raises:
        MeshError: the number of processes is no multiple of `columns`, there is no such device, or
            the other processes were lost.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = _device(device)
    if size % columns:
        if int(os.environ.get("RANK", "0")):
            raise SystemExit(1)  # the first process says it
        raise MeshError(
            f"{columns} columns need {columns} processes, or a multiple of that, and there "
            f"{'is 1' if size == 1 else f'are {size}'}: start them with "
            f"`torchrun --nproc-per-node {columns} --no-python alexnet-train ...`."
        )
    if size == 1:
        yield Mesh(device=chosen)
        return
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    _check_environment()
    try:
        store, rank, size = meet()
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        mesh = _joined(chosen, size // columns, columns)
    except RuntimeError as error:
        if not _is_loss(error):
            raise
        raise MeshError(f"The other processes did not come: {_reason(error)}.") from error
    try:
        yield mesh
    except RuntimeError as error:
        if not _is_loss(error):
            raise
        raise MeshError(
            f"Another process was lost ({_reason(error)}). The run goes on from its last "
            "checkpoint with --resume, or by itself under `torchrun --max-restarts`."
        ) from error
    finally:
        # Tracebacks may hold the mesh until Python ends. A thread of gloo that is still there then,
        # and lets go of a tensor, takes the process down [pytorch/pytorch#179291].
        mesh.data_group = mesh.column_group = None
        dist.destroy_process_group()


def _joined(device: torch.device, data_size: int, columns: int) -> Mesh:
    grid = dist.device_mesh.init_device_mesh(
        device.type, (data_size, columns), mesh_dim_names=("data", "column")
    )
    data, column = grid.get_coordinate() or (0, 0)
    return Mesh(
        device=device,
        data=data,
        data_size=data_size,
        column=column,
        columns=columns,
        neighbours=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        data_group=grid.get_group("data"),
        column_group=grid.get_group("column"),
    )


def _device(name: str) -> torch.device:
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise MeshError("There is no CUDA device here: use --device cpu.")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= torch.cuda.device_count():
        raise MeshError(
            f"Process {local} of this machine has no GPU of its own, there are "
            f"{torch.cuda.device_count()}: start as many processes as there are GPUs."
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _reason(error: RuntimeError) -> str:
    # gloo begins with a place in its source and ends with advice for developers.
    first = str(error).strip().splitlines()[0]
    return re.sub(r"^\[.*?\]\s*", "", first).partition(". This is")[0].rstrip(".")


# gloo has no class of its own: its errors begin with a place in its source. What its transport
# raises is of the connection; what its algorithms raise (`gloo/allreduce.cc`) is a defect.
_GLOO = re.compile(r"\[\S*gloo/(transport|rendezvous)/\S+\]")


def _is_loss(error: RuntimeError) -> bool:
    """Whether an error is one of the connection; any other is a defect."""
    return isinstance(error, dist.DistError) or _GLOO.match(str(error)) is not None


def _check_environment() -> None:
    """Look whether torchrun, or whoever set WORLD_SIZE, said where the processes meet."""
    missing = [n for n in ("RANK", "MASTER_ADDR", "MASTER_PORT") if n not in os.environ]
    if missing:
        raise MeshError(
            f"WORLD_SIZE is set in the environment, and {', '.join(missing)} not: start several "
            "processes with torchrun, or unset WORLD_SIZE for one."
        )
