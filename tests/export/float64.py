"""The operators of our graphs in PyTorch and float64, by their definitions in ONNX."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper


def values_of(nodes, constants, photos):
    """Every value of a graph for uint8 photos (N, S, S, 3), by its name.

    Weights are float32 in the graph and are not rounded again.
    """
    values = {tensor.name: tensor_of(numpy_helper.to_array(tensor)) for tensor in constants}
    values["photos"] = torch.from_numpy(photos)
    for node in nodes:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        result = OPERATORS[node.op_type](*(values[name] for name in node.input), **given)
        if isinstance(result, torch.Tensor):
            result = [result]
        if len(node.output) > len(result):  # a Split, which does not know how many parts it has
            result = result[0].chunk(len(node.output), dim=given["axis"])
        values |= zip(node.output, result, strict=True)
    return values


def tensor_of(array):
    floating = np.issubdtype(array.dtype, np.floating)
    return torch.from_numpy(array.astype(np.float64) if floating else array.copy())


def conv(x, weight, bias=None, *, kernel_shape, strides=(1, 1), pads=(0, 0, 0, 0), group=1):
    assert list(weight.shape[2:]) == list(kernel_shape)
    return F.conv2d(padded(x, pads), weight, bias, tuple(strides), groups=group)


def max_pool(x, *, kernel_shape, strides=(1, 1), pads=(0, 0, 0, 0)):
    return F.max_pool2d(padded(x, pads, -torch.inf), tuple(kernel_shape), tuple(strides))


def average_pool(x, *, kernel_shape, pads, count_include_pad):
    assert count_include_pad == 1
    return F.avg_pool2d(padded(x, pads), tuple(kernel_shape), 1)


def padded(x, pads, value=0.0):
    top, left, bottom, right = pads
    return F.pad(x, (left, right, top, bottom), value=value)


def lrn(x, *, size, alpha, beta, bias):
    before = (size - 1) // 2
    squares = F.pad(x.square(), (0, 0, 0, 0, before, size - 1 - before))
    sums = sum(squares[:, offset : offset + x.shape[1]] for offset in range(size))
    return x / (bias + alpha / size * sums) ** beta


def slice_(x, starts, ends, axes, steps):
    for start, end, axis, step in torch.stack([starts, ends, axes, steps], dim=1).tolist():
        if step == 1:
            assert 0 <= start < end <= x.shape[axis], "a slice past the edge would be cut silently"
            x = x.narrow(axis, start, end - start)
        else:
            assert (start, step) == (-1, -1)
            x = x.flip(axis)
    return x


def depth_to_space(x, *, blocksize):
    """The mode DCR: map (row * blocksize + column) * maps + m holds those places of map m."""
    apart = x.unflatten(1, (blocksize, blocksize, -1))
    return apart.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)


OPERATORS = {
    "Add": torch.add,
    "AveragePool": average_pool,
    "Cast": lambda x, to: x.double(),
    "Concat": lambda *parts, axis: torch.cat(parts, axis),
    "Conv": conv,
    "DepthToSpace": depth_to_space,
    "Div": torch.div,
    "Flatten": lambda x, axis: x.flatten(axis),
    "Gemm": lambda x, weight, bias, **transposed: x @ weight.T + bias,
    "LRN": lrn,
    "Max": lambda *parts: torch.stack(parts).amax(0),
    "MaxPool": max_pool,
    "Mul": torch.mul,
    "Pow": torch.pow,
    "ReduceMean": lambda x, axes, keepdims: x.mean(axes),
    "Relu": F.relu,
    "Reshape": lambda x, shape: x.reshape(shape.tolist()),
    "Slice": slice_,
    "Softmax": lambda x, axis: torch.softmax(x, axis),
    "Split": lambda x, axis: [x],
    "Sqrt": torch.sqrt,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "Transpose": lambda x, perm: x.permute(*perm),
}
