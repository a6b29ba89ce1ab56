"""Caffe's files, written byte by byte: fields as protobuf lays them out, numbers as Caffe has them.

Nothing here comes from the package.
"""

import struct

import numpy as np

# Caffe's names of layers and, in the form before 2014, their numbers.
OLD_TYPES = {"Data": 5, "Convolution": 4, "ReLU": 18, "LRN": 15, "Pooling": 17,
             "InnerProduct": 14, "Dropout": 6, "Softmax": 20, "Sigmoid": 19}  # fmt: skip
NEW_OPTIONS = {"Convolution": 106, "LRN": 118, "Pooling": 121, "InnerProduct": 117}
OLD_OPTIONS = {"Convolution": 10, "LRN": 18, "Pooling": 19, "InnerProduct": 17}


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number, value):
    """One field: an int as a varint, a float as four bytes, text and bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def blob(values, *, form="layer", number=5, dtype="<f4"):
    """A tensor; the old form has four axes, the missing ones in front."""
    data = field(number, values.astype(dtype).tobytes())
    if form == "layer":
        return field(7, field(1, b"".join(varint(side) for side in values.shape))) + data
    shape = (1,) * (4 - values.ndim) + values.shape
    return b"".join(field(axis, side) for axis, side in enumerate(shape, 1)) + data


def layer(name, kind, *, form, options=b"", tensors=()):
    """A layer with its blobs, as a field of the network."""
    if form == "layer":
        body = field(1, name) + field(2, kind)
        body += b"".join(field(7, blob(values)) for values in tensors)
        body += field(NEW_OPTIONS[kind], options) if options else b""
        return field(100, body)
    body = field(4, name) + field(5, OLD_TYPES[kind])
    body += b"".join(field(6, blob(values, form=form)) for values in tensors)
    body += field(OLD_OPTIONS[kind], options) if options else b""
    return field(2, body)


def conv(kernel, *, stride=1, pad=0, group=1):
    """Options as protobuf writes them: what has its default value is left out."""
    given = field(4, kernel)
    given += field(3, pad) if pad else b""
    given += field(6, stride) if stride > 1 else b""
    return given + (field(5, group) if group > 1 else b"")


LRN = field(1, 5) + field(2, 1e-4) + field(3, 0.75)
POOL = field(1, 0) + field(2, 3) + field(3, 2)
CONVS = {"conv1": conv(11, stride=4), "conv2": conv(5, pad=2, group=2), "conv3": conv(3, pad=1),
         "conv4": conv(3, pad=1, group=2), "conv5": conv(3, pad=1, group=2)}  # fmt: skip
ALEXNET = (
    "data", "conv1", "relu1", "norm1", "pool1", "conv2", "relu2", "norm2", "pool2",
    "conv3", "relu3", "conv4", "relu4", "conv5", "relu5", "pool5",
    "fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8", "prob",
)  # fmt: skip
# The network that Caffe ships beside it pools before it normalises.
CAFFENET = (
    "data", "conv1", "relu1", "pool1", "norm1", "conv2", "relu2", "pool2", "norm2", *ALEXNET[9:]
)  # fmt: skip


def caffemodel(weights, *, form="layer", order=ALEXNET):
    """A whole .caffemodel of layers in this order, with the weights that `weights` has for them."""
    kinds = {"conv": "Convolution", "relu": "ReLU", "norm": "LRN", "pool": "Pooling",
             "fc": "InnerProduct", "drop": "Dropout", "prob": "Softmax", "data": "Data",
             "sigmoid": "Sigmoid"}  # fmt: skip
    parts = [field(1, "AlexNet")]
    for name in order:
        kind = kinds[name.rstrip("0123456789")]
        options = {"LRN": LRN, "Pooling": POOL}.get(kind, CONVS.get(name, b""))
        if kind == "InnerProduct":
            options = field(1, len(weights[f"{name}.bias"]))
        tensors = [weights[f"{name}.{part}"] for part in ("weight", "bias") if kind in
                   ("Convolution", "InnerProduct") and f"{name}.{part}" in weights]  # fmt: skip
        parts.append(layer(name, kind, form=form, options=options, tensors=tensors))
    return b"".join(parts)


def binaryproto(image):
    """A mean image, given as RGB (S, S, 3), as Caffe keeps it: BGR, (1, 3, S, S)."""
    return blob(np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))[None], form="layers")
