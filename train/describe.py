"""A preset in numbers: layers, shapes, parameters, multiply-accumulates, neurons."""

from __future__ import annotations

from typing import Any

from alexnet.config import Config
from alexnet.console import print_table
from alexnet.geometry import layers, totals
from alexnet.settings import to_dict


def describe_json(config: Config) -> dict[str, Any]:
    """Config, layers and totals as JSON values."""
    rows = [
        {
            "name": layer.name,
            "kind": layer.kind,
            "shape": list(layer.shape),
            "parameters": layer.parameters,
            "weights": layer.weights,
            "biases": layer.biases,
            "macs": layer.macs,
            "neurons": layer.neurons,
            "groups": layer.groups,
            "detail": layer.detail,
        }
        for layer in layers(config)
    ]
    sums = totals(config)
    return {
        "config": to_dict(config),
        "layers": rows,
        "parameters": sums.parameters,
        "weights": sums.weights,
        "biases": sums.biases,
        "macs": sums.macs,
        "neurons": sums.neurons,
    }


def print_description(config: Config) -> None:
    """The same as a table on stdout."""
    rows: list[tuple[object, ...]] = []
    for layer in layers(config):
        detail = layer.detail + (f", {layer.groups} groups" if layer.groups > 1 else "")
        counts = (layer.parameters, layer.macs, layer.neurons)
        shape = "x".join(map(str, layer.shape))
        rows.append((layer.name, detail, shape, *(f"{c:,}" if c else "-" for c in counts)))
    sums = totals(config)
    counts = (sums.parameters, sums.macs, sums.neurons)
    rows.append(("total", "", "", *(f"{count:,}" for count in counts)))
    side, crop = config.input.size, config.input.crop
    print_table(
        f"{config.preset}: photos of {side}x{side}, crops of {crop}x{crop}, "
        f"mean {config.input.mean}, {config.input.order}, {config.network.columns} column(s)",
        ("layer", "what", "output", "parameters", "multiply-accumulates", "neurons"),
        rows,
    )
