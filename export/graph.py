"""The deployed function as an ONNX graph, written from config and weights: nothing is traced.

Input `photos`: uint8 (batch, S, S, 3), RGB; for dense answers (batch, H, W, 3). Outputs
`probabilities`: float32 (batch, K) and, where asked for, `features`: float32 (batch, units of
fc7). What alexnet.classifier does step by step is here node by node, with standard operators only
and the same names for layers and weights.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import onnx
from onnx import helper

from alexnet import __version__
from alexnet.backends.metadata import to_metadata
from alexnet.checkpoint import Checkpoint
from alexnet.config import Views
from alexnet.files import atomic_path
from alexnet.geometry import Layer, layers
from alexnet.views import views_of
from export.choices import PLAIN, GraphChoices
from export.dense import add_average, add_whole, add_windows
from export.layer_nodes import Graph, add_layer
from export.nodes import Nodes
from export.shared_views import add_shared_views
from export.sharing import sharing_of
from export.views import add_views
from export.winograd import add_chain, chain_of

# Opset 17: at 19 and above ONNX Runtime averages with a slow kernel, and ReduceMean still has its
# axes as an attribute. IR version 8 is the one of that opset, which older runtimes read too.
OPSET, IR_VERSION = 17, 8


def onnx_model(
    checkpoint: Checkpoint,
    *,
    views: Views = "ten",
    features: bool = False,
    choices: GraphChoices = PLAIN,
) -> onnx.ModelProto:
    """The classifier of `checkpoint` as an ONNX model.

    Args:
        checkpoint: weights, config, classes and mean.
        views: whose probabilities are averaged. One view shares nothing with others, and the
            whole photo of dense answers has none.
        features: whether there is an output `features`.
        choices: the graph's form. With one view each convolution is one node: there are so few
            positions that reading 16 kernels in place of 9 takes what is saved.

    Raises:
        AlexNetError: the config holds something that ONNX's operators can't say.
    """
    config = checkpoint.config
    graph = Graph(
        config=config,
        weights={name: w.detach().cpu().float().numpy() for name, w in checkpoint.weights.items()},
        nodes=Nodes(),
        choices=choices,
    )
    following = layers(config)[1:]
    sharing = sharing_of(config) if choices.views == "shared" and views == "ten" else None
    dense = views == "dense"
    if dense:
        source = add_whole(graph.nodes, config.input, checkpoint.mean)
    elif sharing is not None and sharing.stages:
        source = add_shared_views(graph, sharing, checkpoint.mean)
        following = following[following.index(sharing.stages[-1].layers[-1]) + 1 :]
    else:
        source = add_views(graph.nodes, config.input, checkpoint.mean, views=views)
    tiled = choices.convolutions == "winograd" and views == "ten"
    single, hidden = _add_network(graph, source, following, dense=dense, tiled=tiled)
    outputs = {"probabilities": (single, config.network.classes)}
    if features:
        outputs["features"] = (hidden, config.network.fc7.units)
    for name, (source, width) in outputs.items():
        if dense:
            add_average(graph.nodes, source, name=name, width=width)
            continue
        count = len(views_of(config.input, views))
        _add_output(graph.nodes, source, name=name, views=count, width=width)
    widths = {name: width for name, (_, width) in outputs.items()}
    model = _model(graph, widths, dense=dense)
    metadata = to_metadata(checkpoint.header(), views=views, features=features)
    helper.set_model_props(model, metadata | {"target": choices.target})
    return model


def write_onnx(
    checkpoint: Checkpoint,
    path: str | os.PathLike[str],
    *,
    views: Views = "ten",
    features: bool = False,
    choices: GraphChoices = PLAIN,
) -> onnx.ModelProto:
    """Write the classifier of `checkpoint` to `path`, atomically, once ONNX's checker accepts it.

    Returns:
        The model as written.
    """
    model = onnx_model(checkpoint, views=views, features=features, choices=choices)
    write_model(model, path)
    return model


def write_model(model: onnx.ModelProto, path: str | os.PathLike[str]) -> None:
    """Write a graph to `path`, atomically, once ONNX's checker accepts it."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        onnx.checker.check_model(str(temporary), full_check=True)


def _add_network(
    graph: Graph, source: str, following: Sequence[Layer], *, dense: bool, tiled: bool
) -> tuple[str, str]:
    """The layers behind `source`; returns each view's probabilities, and its features."""
    every = layers(graph.config)
    before = every[every.index(following[0]) - 1]
    features = ""
    chain: Sequence[Layer] = ()
    for place, layer in enumerate(following):
        if layer in chain:
            continue
        chain = chain_of(graph.config, following[place:]) if tiled else ()
        if chain:
            source = add_chain(graph, chain, source, side=before.shape[-1])
            before = chain[-1]
            continue
        if layer.name == "fc6" and dense:
            source = add_windows(graph.nodes, graph.config, source)
        elif layer.name == "fc6":
            source = graph.nodes.add("Flatten", [source], name="flat", axis=1)
        source = add_layer(graph, layer, source, side=None if dense else before.shape[-1])
        if layer.name == f"fc7_{graph.config.network.fc7.nonlinearity}":
            features = source
        before = layer
    return source, features


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


def _model(graph: Graph, outputs: Mapping[str, int], *, dense: bool) -> onnx.ModelProto:
    side = graph.config.input.size
    sides = ["height", "width"] if dense else [side, side]
    words = f"RGB, sides of at least {graph.config.input.crop}" if dense else "RGB, square"
    photos = helper.make_tensor_value_info(
        "photos", onnx.TensorProto.UINT8, ["batch", *sides, 3], f"{words}, 0-255"
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
