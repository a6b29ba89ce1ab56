"""A network's columns on devices of their own, as on the two GPUs of the paper [P §3.2, §3.5].

Each process of a column group holds one column's filters and its part of every fully connected
layer: a part of the rows of each weight. The columns talk where the paper's GPUs talk: before conv3
and before each fully connected layer. There each process receives the maps that it lacks, and, on
the way back, what the others' layers say of its own maps. Logits are collected at the end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from alexnet.config import NetworkConfig
from alexnet.errors import AlexNetError
from alexnet.network import AlexNet
from train.mesh import Mesh, parts


class ColumnsError(AlexNetError):
    """A network that can't be spread over processes."""


@dataclass
class Traffic:
    """What one exchange has cost so far."""

    bytes: int = 0
    """Sent by this process."""
    seconds: float = 0.0
    """From the call to the answer: waiting for a slower column is in it."""


class Exchange:
    """What the columns of a network tell each other, and what that costs."""

    def __init__(self, mesh: Mesh, network: AlexNet):
        self.mesh = mesh
        self.traffic: dict[str, Traffic] = {}
        self._rows = {name: len(weight) for name, weight in network.named_parameters()}
        self._widths = _joined_widths(network)
        self._running: list[tuple[Traffic, torch.cuda.Event, torch.cuda.Event]] = []

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def join(self, layer: str, values: Tensor) -> Tensor:
        """All columns' values (N, W, ...) of this one's (N, W / columns, ...)."""
        joined: Tensor = _Join.apply(values, self, layer)  # type: ignore[no-untyped-call]
        return joined

    def parts(self, layer: str) -> list[slice]:
        """Which of the joined values each column has."""
        return parts(self._widths[layer], self.mesh.columns)

    def swap(self, layer: str, sent: list[Tensor], widths: list[int]) -> list[Tensor]:
        """Send `sent[c]` to column c and receive (rows, widths[c]) from it; own ones stay."""
        own, rows = self.mesh.column, sent[0].shape[0]
        item = sent[0].element_size()
        pieces = [p.reshape(-1).view(torch.uint8) for i, p in enumerate(sent) if i != own]
        sizes = [0 if i == own else p.numel() * item for i, p in enumerate(sent)]
        expected = [0 if i == own else rows * width * item for i, width in enumerate(widths)]
        received = torch.empty(sum(expected), dtype=torch.uint8, device=sent[0].device)
        traffic = self.traffic.setdefault(layer, Traffic())
        traffic.bytes += sum(sizes)
        started = self._start()
        dist.all_to_all_single(
            received, torch.cat(pieces), expected, sizes, group=self.mesh.column_group
        )
        self._stop(traffic, started)
        return [
            sent[i] if i == own else part.view(sent[0].dtype).view(rows, widths[i])
            for i, part in enumerate(received.split(expected))  # type: ignore[no-untyped-call]
        ]

    def own(self, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This column's rows of tensors of the whole network, by the names of its weights."""
        columns, column = self.mesh.columns, self.mesh.column
        return {name: w[parts(self._rows[name], columns)[column]] for name, w in whole.items()}

    def whole(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The whole network's tensors on the CPU, of every column's rows.

        To be called in every process; all but the first get nothing.
        """
        if self.mesh.data != 0:
            return {}
        group, found = self.mesh.column_group, {}
        for name, tensor in own.items():
            rows = [tensor.detach().contiguous()]
            if self.mesh.column != 0:
                dist.send(rows[0], group=group, group_dst=0)
                continue
            for place in parts(self._rows[name], self.mesh.columns)[1:]:
                rows.append(tensor.new_empty((place.stop - place.start, *tensor.shape[1:])))
                dist.recv(rows[-1], group=group, group_src=len(rows) - 1)
            found[name] = torch.cat(rows).cpu()
        return found

    def settle(self) -> None:
        """Add up the times of exchanges that a GPU has finished."""
        while self._running and self._running[0][2].query():  # type: ignore[no-untyped-call]
            traffic, start, stop = self._running.pop(0)
            traffic.seconds += start.elapsed_time(stop) / 1000

    def _start(self) -> Any:
        if self.mesh.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _stop(self, traffic: Traffic, started: Any) -> None:
        if self.mesh.device.type != "cuda":
            traffic.seconds += time.perf_counter() - started
            return
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._running.append((traffic, started, event))


class _Join(torch.autograd.Function):
    """Values of all columns; on the way back, every column's gradient of this one's values."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, exchange: Exchange, layer: str) -> Tensor:
        ctx.exchange, ctx.layer = exchange, layer
        # Channels last: each position's maps of a column lie together.
        last = values.movedim(1, -1)
        flat = last.reshape(-1, values.shape[1]).contiguous()
        widths = [part.stop - part.start for part in exchange.parts(layer)]
        found = exchange.swap(layer, [flat] * len(widths), widths)
        return torch.cat(found, 1).view(*last.shape[:-1], sum(widths)).movedim(-1, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        exchange, layer = ctx.exchange, ctx.layer
        last = gradients[0].movedim(1, -1)
        flat = last.reshape(-1, last.shape[-1])
        places, own = exchange.parts(layer), exchange.mesh.column
        pieces = [flat[:, place].contiguous() for place in places]
        width = pieces[own].shape[1]
        if layer == "logits":  # every column computes the same loss: nothing is to be added up
            total = pieces[own]
        else:
            found = exchange.swap(layer, pieces, [width] * len(places))
            total = found[0].clone()
            for piece in found[1:]:  # in the order of the columns, so that all runs agree
                total += piece
        return total.view(*last.shape[:-1], width).movedim(-1, 1), None, None


def split(network: AlexNet, mesh: Mesh) -> Exchange:
    """Keep this process's column of `network`, and join it with the others.

    Raises:
        ColumnsError: the network has another number of columns, or its normalisation reads across.
    """
    config = network.config.network
    check_columns(config, mesh.columns)
    exchange = Exchange(mesh, network)
    for module in network.children():
        if isinstance(module, nn.Conv2d | nn.Linear):
            for name, parameter in list(module.named_parameters()):
                rows = parts(len(parameter), mesh.columns)[mesh.column]
                setattr(module, name, nn.Parameter(parameter.detach()[rows].clone()))
        if isinstance(module, nn.Conv2d):
            module.groups = 1
    network.columns = 1
    network.join = exchange.join
    return exchange


def check_columns(config: NetworkConfig, columns: int) -> None:
    """A network can be held in `columns` processes if it has as many columns, and they are apart.

    Raises:
        ColumnsError: it can't.
    """
    if config.columns != columns:
        raise ColumnsError(
            f"This network has {config.columns} column(s), which can't be held in {columns} "
            f"processes: use --columns 1{'' if config.columns == 1 else f' or {config.columns}'}."
        )
    for number, conv in enumerate(config.convs, 1):
        if conv.lrn is not None and not conv.lrn.within_columns:
            raise ColumnsError(
                f"conv{number} of this network is normalised across its columns, so that they "
                "can't be held apart: use --columns 1."
            )


def _joined_widths(network: AlexNet) -> dict[str, int]:
    """How many values come together at each join."""
    config = network.config.network
    widths = {"fc6": network.fc6.in_features, "fc7": config.fc6.units, "fc8": config.fc7.units}
    maps = 3
    for name, conv in network.convs:
        widths[name] = maps
        maps = conv.maps
    return widths | {"logits": config.classes}
