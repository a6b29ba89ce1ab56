"""A model file that answers as another does, but never comes back from photos of one colour."""

import onnx
from click.testing import CliRunner
from onnx import TensorProto, helper

from export.cli import main


def endless(model, path, *, grey=255):
    """A graph that answers as the model's does, except that a photo all of this grey keeps it for
    years."""
    done = CliRunner().invoke(main, ["onnx", str(model), "-o", str(path)])
    assert done.exit_code == 0, done.output
    exported = onnx.load(path)
    graph = exported.graph
    (last,) = (node for node in graph.node if "probabilities" in node.output)
    last.output[:] = ["answered"]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("Identity", ["nothing"], ["still_nothing"]),
        ],
        "again",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("nothing", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("still_nothing", TensorProto.FLOAT, []),
        ],
    )
    graph.initializer.extend(
        [
            helper.make_tensor("grey", TensorProto.FLOAT, [], [float(grey)]),
            helper.make_tensor("years", TensorProto.INT64, [], [10**17]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("Cast", ["photos"], ["values"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMin", ["values"], ["darkest"], keepdims=0),
            helper.make_node("ReduceMax", ["values"], ["brightest"], keepdims=0),
            helper.make_node("Equal", ["darkest", "grey"], ["dark"]),
            helper.make_node("Equal", ["brightest", "grey"], ["bright"]),
            helper.make_node("And", ["dark", "bright"], ["that_grey"]),
            helper.make_node("Cast", ["that_grey"], ["once"], to=TensorProto.INT64),
            helper.make_node("Mul", ["once", "years"], ["turns"]),
            helper.make_node("Loop", ["turns", "", "zero"], ["waited"], body=body),
            helper.make_node("Add", ["answered", "waited"], ["probabilities"]),
        ]
    )
    onnx.save(exported, path)
    return path
