"""Two model files layer by layer on the same photos: where do their values begin to differ?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.backends import BACKENDS, ArtifactInfo, Backend
from alexnet.backends.onnx_runtime import load_runtime, session_options
from alexnet.backends.openvino import load_openvino, settings
from alexnet.backends.threads import within_cores
from alexnet.checkpoint import load_checkpoint
from alexnet.classifier import Classifier
from alexnet.config import Config
from alexnet.console import print_table, progress
from alexnet.geometry import Layer, layers
from alexnet.machine import keep_signal_stack
from alexnet.network import NONLINEARITIES
from export.real_photos import Named
from export.shared_views import WHOLE
from export.verify import DifferentModelsError, part_of

Values = dict[str, NDArray[Any]]
"""What each layer gives for a batch of photos, by the layer's name."""
Run = Callable[[NDArray[np.uint8]], Values]


@dataclass(frozen=True, kw_only=True)
class LayerDifference:
    """How far a layer's values lie apart in two models, over all photos, views and units."""

    layer: str
    largest: float
    """Largest absolute value of the first model."""
    max_difference: float
    first_rounding: float | None
    """The first model's largest difference from the same layer in float64; None without a
    checkpoint, whose network that would be."""
    second_rounding: float | None

    @property
    def relative(self) -> float:
        """The largest difference as part of the largest value."""
        return self.part(self.max_difference)

    def part(self, difference: float) -> float:
        """A difference as part of the largest value."""
        return part_of(difference, self.largest)


def compare_layers(
    a: Backend, b: Backend, photos: Sequence[Named], *, threads: int | None = None
) -> list[LayerDifference]:
    """The differences of every layer that both models show, in the order of the forward pass.

    The crops come first, the probabilities of each view last. Where one of the two is a checkpoint
    (the first, if both are), its network in float64 is the reference for rounding. A graph is run
    by the backend's own runtime, which fuses less than usual while it shows its layers.

    Raises:
        DifferentModelsError: one of them is no checkpoint and no graph, and shows no layers, or
            their layers have different shapes; or the views are `dense`.
    """
    if a.info.views == "dense":
        raise DifferentModelsError(
            "Layers are compared on crops, and dense answers have none: compare files of the views "
            "ten or centre layer by layer, which compute the same layers."
        )
    runs = [_run_of(backend, threads=threads) for backend in (a, b)]
    exact = next((x for x in (a, b) if _is(x, "torch")), None)
    if exact is not None:
        runs.append(_torch_run(exact, torch.float64))
    figures: dict[str, NDArray[np.float64]] = {}
    with progress("Layer by layer", total=len(photos), unit="photos") as bar:
        for _, pixels in photos:
            for name, found in _apart(a, b, [run(pixels[None]) for run in runs]).items():
                figures[name] = np.maximum(figures.get(name, found), found)  # a NaN stays one
            bar.advance()
    return [_row(name, [float(x) for x in found]) for name, found in figures.items()]


def first_different(rows: Sequence[LayerDifference], *, tolerance: float) -> str | None:
    """The first layer whose values differ by more than `tolerance` of the largest, or by NaN."""
    return next((row.layer for row in rows if not row.relative <= tolerance), None)


def print_layers(rows: Sequence[LayerDifference], *, tolerance: float) -> None:
    """The table for people."""
    first = first_different(rows, tolerance=tolerance)
    title = (
        f"Layers: none differs by more than {tolerance:g} of its largest value"
        if first is None
        else f"Layers: {first} is the first that differs by more than {tolerance:g} of its "
        "largest value"
    )
    columns = ["layer", "largest value", "max difference", "relative"]
    rounding = rows[0].first_rounding is not None
    if rounding:
        columns += ["first from float64", "second from float64"]
    lines = []
    for row in rows:
        line = [row.layer, f"{row.largest:.4g}", f"{row.max_difference:.2e}", f"{row.relative:.2e}"]
        for difference in (row.first_rounding, row.second_rounding):
            line += [] if difference is None else [f"{row.part(difference):.2e}"]
        lines.append(line)
    print_table(title, columns, lines)


def layer_summary(rows: Sequence[LayerDifference], *, tolerance: float) -> dict[str, Any]:
    """The same as JSON values; what is no finite number becomes null."""
    figures = [{**dataclasses.asdict(row), "relative": row.relative} for row in rows]
    return {
        "first_different_layer": first_different(rows, tolerance=tolerance),
        "layer_tolerance": tolerance,
        "layers": figures,
    }


def torch_layers(classifier: Classifier, photos: NDArray[np.uint8]) -> Values:
    """Every layer's values in PyTorch for photos (N, S, S, 3): (views * N, ...), view by view."""
    found = {}
    with torch.inference_mode():
        value = classifier.crops(torch.tensor(photos), classifier.views)
        for layer in layers(classifier.config):
            value = value if layer.kind == "input" else _apply(classifier, layer, value)
            found[layer.name] = value.numpy()
    return found


def _apply(classifier: Classifier, layer: Layer, value: Tensor) -> Tensor:
    network = classifier.network
    if layer.conv is not None:
        conv = classifier.config.network.convs[layer.conv]
        if layer.step is None:
            return network.convolve(layer.name, conv, value)
        return network.step(layer.step, conv, value)
    if layer.kind in ("relu", "tanh"):
        return NONLINEARITIES[layer.kind](value)
    if layer.kind == "softmax":
        return torch.softmax(value, dim=1)
    result: Tensor = network.get_submodule(layer.name)(value.flatten(1))
    return result


def _is(backend: Backend, name: str) -> bool:
    return backend.info.path.suffix == BACKENDS[name]


def _run_of(backend: Backend, *, threads: int | None) -> Run:
    if _is(backend, "torch"):
        return _torch_run(backend, torch.float32)
    if _is(backend, "onnxruntime"):
        model, places = _with_layers(backend.info.path, backend.info.config)
        if backend.name == "openvino":
            return _openvino_run(model, places, backend.info, threads=threads)
        return _onnx_runtime_run(model, places, threads=threads)
    raise DifferentModelsError(
        f"{backend.info.path} shows no layers: compare checkpoints and .onnx files layer by layer."
    )


def _torch_run(backend: Backend, dtype: torch.dtype) -> Run:
    checkpoint = load_checkpoint(backend.info.path)
    classifier = checkpoint.classifier(backend.info.views).to(dtype)
    return lambda photos: torch_layers(classifier, photos)


def _with_layers(path: Path, config: Config) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The graph with its layers as further outputs, and these by the layers' names."""
    model = onnx.load(path)
    nodes = {node.name: node for node in model.graph.node}
    if WHOLE in nodes:
        raise DifferentModelsError(
            f"The views share the first layers in {path}, and none has maps of its own there: "
            "compare layer by layer with a graph of --no-share."
        )
    places = {}
    for layer in layers(config):
        if layer.kind == "input":
            places[layer.name] = nodes["conv1"].input[0]
        elif layer.name in nodes:
            # Around a normalisation inside of columns, two columns are two photos.
            node = nodes.get(f"{layer.name}_joined", nodes[layer.name])
            places[layer.name] = node.output[0]
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in places.values() if name not in known
    )
    return model, places


def _openvino_run(
    model: onnx.ModelProto, places: dict[str, str], info: ArtifactInfo, *, threads: int | None
) -> Run:
    openvino = load_openvino()
    graph = openvino.Core().read_model(model.SerializeToString())
    side = info.config.input.size
    graph.reshape({"photos": [1, side, side, 3]})
    with keep_signal_stack():
        config = settings(info, threads=within_cores(threads), streams=1)
        request = openvino.compile_model(graph, "CPU", config).create_infer_request()

    def run(photos: NDArray[np.uint8]) -> Values:
        values = request.infer({"photos": photos})
        return {layer: values[name] for layer, name in places.items()}

    return run


def _onnx_runtime_run(
    model: onnx.ModelProto, places: dict[str, str], *, threads: int | None
) -> Run:
    runtime = load_runtime()
    session = runtime.InferenceSession(
        model.SerializeToString(),
        session_options(runtime, threads=threads),
        providers=["CPUExecutionProvider"],
    )

    def run(photos: NDArray[np.uint8]) -> Values:
        values = session.run(list(places.values()), {"photos": photos})
        return dict(zip(places, values, strict=True))

    return run


def _apart(a: Backend, b: Backend, values: Sequence[Values]) -> dict[str, NDArray[np.float64]]:
    """Of each layer: the largest value, and the largest differences, as `_row` takes them."""
    first, second, *exact = values
    found = {}
    for name in first:
        if name not in second:
            continue
        p, q = (np.asarray(value[name], dtype=np.float64) for value in (first, second))
        if p.shape != q.shape:
            raise DifferentModelsError(
                f"{name} has the shape {p.shape[1:]} in {a.info.path} and {q.shape[1:]} in "
                f"{b.info.path}: layers of two networks can't be compared."
            )
        pairs = [(p, q), *((x, value[name]) for value in exact for x in (p, q))]
        found[name] = np.array([np.abs(p).max(), *(np.abs(x - y).max() for x, y in pairs)])
    return found


def _row(name: str, figures: Sequence[float]) -> LayerDifference:
    largest, difference, *rounding = figures
    first, second = rounding or (None, None)
    return LayerDifference(
        layer=name,
        largest=largest,
        max_difference=difference,
        first_rounding=first,
        second_rounding=second,
    )
