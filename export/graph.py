"""The deployed function as an ONNX graph, written from config and weights: nothing is traced.

Input `photos`: uint8 (batch, S, S, 3), RGB. Outputs `probabilities`: float32 (batch, K) and, where
asked for, `features`: float32 (batch, units of fc7). What alexnet.classifier does step by step is
here node by node, with standard operators only and the same names for layers and weights.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from alexnet import __version__
from alexnet.backends.metadata import to_metadata
from alexnet.checkpoint import Checkpoint
from alexnet.config import Config, ConvConfig, Views
from alexnet.files import atomic_path
from alexnet.geometry import Layer, groups, layers
from alexnet.views import views_of
from export.lrn import add_lrn
from export.nodes import Nodes
from export.views import add_views

# Opset 17: at 19 and above ONNX Runtime averages with a slow kernel, and ReduceMean still has its
# axes as an attribute. IR version 8 is the one of that opset, which older runtimes read too.
OPSET, IR_VERSION = 17, 8


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What is written, while it is written."""

    config: Config
    weights: Mapping[str, NDArray[np.float32]]
    nodes: Nodes

    def weight(self, name: str) -> str:
        """The constant that holds the weights `name` of the checkpoint."""
        return self.nodes.constant(name, self.weights[name])


def onnx_model(
    checkpoint: Checkpoint, *, views: Views = "ten", features: bool = False
) -> onnx.ModelProto:
    """The classifier of `checkpoint` as an ONNX model.

    Raises:
        AlexNetError: the config holds something that ONNX's operators can't say.
    """
    config = checkpoint.config
    graph = Graph(
        config=config,
        weights={name: w.detach().cpu().float().numpy() for name, w in checkpoint.weights.items()},
        nodes=Nodes(),
    )
    crops = add_views(graph.nodes, config.input, checkpoint.mean, views=views)
    single, hidden = _add_network(graph, crops)
    outputs = {"probabilities": (single, config.network.classes)}
    if features:
        outputs["features"] = (hidden, config.network.fc7.units)
    count = len(views_of(config.input, views))
    for name, (source, width) in outputs.items():
        _add_output(graph.nodes, source, name=name, views=count, width=width)
    widths = {name: width for name, (_, width) in outputs.items()}
    model = _model(graph, widths)
    helper.set_model_props(
        model,
        to_metadata(checkpoint.header(), views=views, features=features),
    )
    return model


def write_onnx(
    checkpoint: Checkpoint,
    path: str | os.PathLike[str],
    *,
    views: Views = "ten",
    features: bool = False,
) -> onnx.ModelProto:
    """Write the classifier of `checkpoint` to `path`, atomically, once ONNX's checker accepts it.

    Returns:
        The model as written.
    """
    model = onnx_model(checkpoint, views=views, features=features)
    write_model(model, path)
    return model


def write_model(model: onnx.ModelProto, path: str | os.PathLike[str]) -> None:
    """Write a graph to `path`, atomically, once ONNX's checker accepts it."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        onnx.checker.check_model(str(temporary), full_check=True)


def _add_network(graph: Graph, crops: str) -> tuple[str, str]:
    """Every layer of the network; returns each crop's probabilities, and fc7 after its ReLU."""
    crop, *following = layers(graph.config)
    source, shape, features = crops, crop.shape, ""
    for layer in following:
        if layer.name == "fc6":
            source = graph.nodes.add("Flatten", [source], name="flat", axis=1)
        source = _add_layer(graph, layer, source, before=shape)
        if layer.name == "fc7_relu":
            features = source
        shape = layer.shape
    return source, features


def _add_layer(graph: Graph, layer: Layer, source: str, *, before: tuple[int, ...]) -> str:
    """One layer: `before` and `layer.shape` are one crop's shapes at its two ends."""
    nodes, name = graph.nodes, layer.name
    match layer.kind:
        case "conv":
            return _add_conv(graph, layer, source)
        case "relu":
            return nodes.add("Relu", [source], name=name)
        case "pool":
            return _add_pool(graph, layer, source, side=before[1])
        case "lrn":
            assert layer.step is not None
            lrn = _conv_of(graph.config, layer).lrn_of(layer.step)
            columns = graph.config.network.columns
            return add_lrn(nodes, source, lrn, name=name, shape=layer.shape, columns=columns)
        case "full":
            inputs = [source, graph.weight(f"{name}.weight"), graph.weight(f"{name}.bias")]
            return nodes.add("Gemm", inputs, name=name, transB=1)
        case "dropout":
            dropout = graph.config.network.dropout
            if dropout.scaled == "in_training":
                return source
            return nodes.add(
                "Mul", [source, nodes.constant(f"{name}.keep", 1.0 - dropout.rate)], name=name
            )
        case "softmax":
            return nodes.add("Softmax", [source], name=name, axis=1)
        case "input":
            raise AssertionError("the crop is where the network begins")


def _conv_of(config: Config, layer: Layer) -> ConvConfig:
    assert layer.conv is not None, layer.name
    return config.network.convs[layer.conv]


def _add_conv(graph: Graph, layer: Layer, source: str) -> str:
    conv = _conv_of(graph.config, layer)
    before, after = conv.pad
    return graph.nodes.add(
        "Conv",
        [source, graph.weight(f"{layer.name}.weight"), graph.weight(f"{layer.name}.bias")],
        name=layer.name,
        kernel_shape=[conv.kernel, conv.kernel],
        strides=[conv.stride, conv.stride],
        pads=[before, before, after, after],
        group=groups(graph.config.network, conv),
    )


def _add_pool(graph: Graph, layer: Layer, source: str, *, side: int) -> str:
    pool = _conv_of(graph.config, layer).pool
    assert pool is not None
    # Padding behind the last window, where sizes are rounded up: runtimes differ in `ceil_mode`,
    # and agree that padding never is the maximum.
    spill = max(0, (layer.shape[1] - 1) * pool.stride + pool.size - side)
    return graph.nodes.add(
        "MaxPool",
        [source],
        name=layer.name,
        kernel_shape=[pool.size, pool.size],
        strides=[pool.stride, pool.stride],
        pads=[0, 0, spill, spill],
    )


def _add_output(nodes: Nodes, source: str, *, name: str, views: int, width: int) -> None:
    """The mean over the views, or the one view under the output's name."""
    if views == 1:
        _rename(nodes, source, name)
        return
    by_view = nodes.reshape(source, name=f"{name}_by_view", shape=[views, -1, width])
    nodes.add("ReduceMean", [by_view], name=name, axes=[0], keepdims=0)


def _rename(nodes: Nodes, source: str, name: str) -> None:
    """Let the value `source` be called `name`; its node keeps its own name."""
    for node in nodes.nodes:
        for names in (node.input, node.output):
            for index, value in enumerate(names):
                if value == source:
                    names[index] = name


def _model(graph: Graph, outputs: Mapping[str, int]) -> onnx.ModelProto:
    side = graph.config.input.size
    photos = helper.make_tensor_value_info(
        "photos", onnx.TensorProto.UINT8, ["batch", side, side, 3], "RGB, square, 0-255"
    )
    results = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", width])
        for name, width in outputs.items()
    ]
    body = helper.make_graph(
        graph.nodes.nodes,
        f"alexnet_{graph.config.preset}",
        [photos],
        results,
        initializer=graph.nodes.constants,
        doc_string="AlexNet as it is deployed: uint8 photos in, averaged probabilities out.",
    )
    return helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="alexnet-export",
        producer_version=__version__,
        doc_string=(
            "Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural "
            f"Networks (NIPS 2012), preset {graph.config.preset}. The metadata holds config, "
            "classes, views and origin."
        ),
    )
