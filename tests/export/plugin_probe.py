"""Asks NVIDIA's own plugin code about our plugins; runs in a process of its own.

stdin: a target and cases in JSON. stdout: one line of JSON, what NVIDIA's code answered to
each. The bindings and the plugin registry are NVIDIA's; only what a builder would supply is made
here: the arithmetic on symbolic dimensions, and the objects that take launch parameters.
"""

# ruff: noqa: E402 (the bindings must be called `tensorrt` before anything imports it)

import json
import sys

import numpy as np
import tensorrt_bindings as trt

sys.modules["tensorrt"] = trt

import tensorrt_bindings.plugin as trtp

sys.modules["tensorrt.plugin"] = trtp

from export.lrn_plugin import register

OPERATIONS = {
    trt.DimensionOperation.SUM: lambda a, b: a + b,
    trt.DimensionOperation.SUB: lambda a, b: a - b,
    trt.DimensionOperation.PROD: lambda a, b: a * b,
    trt.DimensionOperation.FLOOR_DIV: lambda a, b: a // b,
    trt.DimensionOperation.CEIL_DIV: lambda a, b: -(-a // b),
    trt.DimensionOperation.MAX: max,
    trt.DimensionOperation.MIN: min,
}


class Dimension:
    """A dimension that has a value at run time and, unless it is the batch, at build time too."""

    def __init__(self, value, constant=True):
        self.value, self.constant = value, constant

    def is_constant(self):
        return self.constant

    def get_constant_value(self):
        assert self.constant, "the batch is not known when an engine is built"
        return self.value


class Expressions:
    def constant(self, value):
        return Dimension(value)

    def operation(self, operation, a, b):
        value = OPERATIONS[operation](a.value, b.value)
        return Dimension(value, a.constant and b.constant)


class Launch:
    """What a builder's launch parameters are set to."""


class Extra(dict):
    nbSymExprs = 0  # noqa: N815 (NVIDIA's name)


class Expression(trtp._tensor.SymExprImpl):
    """NVIDIA's class, whose `expr` may hold our Dimension."""

    expr = None


# Without a builder nobody hands out such objects, and the bindings have no constructors for them.
trt.IDimensionExpr = Dimension
trt.DimsExprs = lambda length: [None] * length
trtp._tensor.SymExprImpl = Expression


def described(shape, dtype, layout, *, batch):
    """A tensor as a builder describes it: a batch that may vary is -1."""
    tensor = trt.DynamicPluginTensorDesc()
    tensor.desc.dims = (batch, *shape[1:])
    tensor.desc.type, tensor.desc.format = dtype, layout
    tensor.min, tensor.opt, tensor.max = (1, *shape[1:]), shape, shape
    return tensor


KINDS = {
    int: (np.int32, trt.PluginFieldType.INT32),
    float: (np.float32, trt.PluginFieldType.FLOAT32),
}


def created(creator, case):
    """The plugin, from attributes as TensorRT's ONNX parser passes them on: int32 and float32."""
    given = case["attributes"]
    arrays = {name: np.array([value], KINDS[type(value)][0]) for name, value in given.items()}
    # A field is only a pointer to its array.
    fields = [trt.PluginField(name, arrays[name], KINDS[type(given[name])][1]) for name in given]
    return creator.create_plugin(
        case["operator"],
        "alexnet",
        trt.PluginFieldCollection(fields),
        trt.TensorRTPhase.BUILD,
        trt.QuickPluginCreationRequest.STRICT_AOT,
    )


def asked(case):
    dtype = getattr(trt.DataType, case["dtype"])
    creator = trt.get_plugin_registry().get_creator(case["operator"], "1", "alexnet")
    plugin = created(creator, case)
    found = {
        "class": type(plugin).__name__,
        "ahead of time": isinstance(plugin, trt.IPluginV3QuickAOTBuild),
        "fields": [field.name for field in creator.field_names],
        "outputs": plugin.get_num_outputs(),
        "types": [kind.name for kind in plugin.get_output_data_types([dtype], [4])],
    }
    tuned, *rest = case["shape"]
    dimensions = [Dimension(case["batch"], constant=case["fixed"]), *map(Dimension, rest)]
    (shape,) = plugin.get_output_shapes([dimensions], [], Expressions())
    found["shape"] = [dimension.value for dimension in shape]
    layout = getattr(trt.TensorFormat, case["layout"])
    batch = tuned if case["fixed"] else -1
    ends = [
        described((tuned, *shape[1:]), dtype, layout, batch=batch)
        for shape in (case["shape"], found["shape"])
    ]
    combinations = plugin.get_supported_format_combinations(ends, 1)
    flat = [(end.type.name, end.format.name) for end in combinations]
    found["combinations"] = [[*a, *b] for a, b in zip(flat[::2], flat[1::2], strict=True)]
    plugin.configure_plugin(ends[:1], ends[1:])
    found["tactics"] = plugin.get_valid_tactics()
    plugin.set_tactic(0)
    launch, extra = Launch(), Extra()
    plugin.get_launch_params([dimensions], ends, 1, launch, extra, Expressions())
    found["launch"] = {key: value.expr.value for key, value in vars(launch).items()}
    found["extra"] = [extra[index].expr.value for index in range(extra.nbSymExprs)]
    kernel, ptx = plugin.get_kernel([ends[0].desc], [ends[1].desc])
    return found | {"kernel": kernel, "ptx": ptx.decode()}


if __name__ == "__main__":
    request = json.load(sys.stdin)
    register(80)
    register(request["target"])  # the last call decides
    registry = trt.get_plugin_registry()
    creators = [
        [one.plugin_namespace, one.name, one.plugin_version, one.interface_info.kind]
        for one in registry.all_creators
    ]
    print(
        json.dumps(
            {
                "version": trt.__version__,
                "creators": creators,
                "cases": [asked(case) for case in request["cases"]],
            }
        )
    )
