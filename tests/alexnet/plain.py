"""The networks once more, written out with PyTorch's functions alone: a second opinion.

Nothing here comes from the package. Two columns are two tensors; numbers are those of fidelity.md.
"""

import torch
import torch.nn.functional as F

# As they were run in 2012: layer 1 normalises before its ReLU, layer 2 normalises twice.
AS_RUN = ("net145", "one_gpu", "six_conv")


def forward(name, weights, crops, *, keep=None):
    """Logits of `crops` for a preset's weights, both in float64.

    `keep`: what the values of fc6 and fc7 are multiplied with; None: as the preset does in use.
    """
    return full(name, weights, last_maps(name, weights, crops).flatten(1), keep=keep)


def last_maps(name, weights, crops):
    """What fc6 reads of crops, or of photos of any shape."""
    if name == "torchvision":
        return _torchvision(weights, crops)
    columns = 1 if name == "one_gpu" else 2

    before, after, stride = {"caffe": (0, 0, 4), "mini": (1, 2, 1)}.get(name, (0, 3, 4))
    maps = F.pad(crops, (before, after, before, after))
    parts = [F.conv2d(maps, w, b, stride=stride) for w, b in _split(weights, "conv1", columns)]
    if name in AS_RUN:
        parts = [F.relu(_pool(part)) for part in _normalised(name, parts)]
    else:
        parts = [_pool(part) for part in _normalised(name, [F.relu(part) for part in parts])]

    parts = _normalised(name, _own(weights, "conv2", parts, pad=2))
    if name in AS_RUN:
        parts = [_same_map(part) for part in parts]
    both = torch.cat([_pool(part) for part in parts], 1)

    parts = [F.relu(F.conv2d(both, w, b, padding=1)) for w, b in _split(weights, "conv3", columns)]
    parts = _own(weights, "conv5", _own(weights, "conv4", parts, pad=1), pad=1)
    maps = torch.cat([_pool(part) for part in parts], 1)
    if name == "six_conv":
        maps = F.relu(F.conv2d(maps, weights["conv6.weight"], weights["conv6.bias"], padding=1))
    return maps


def full(name, weights, values, *, keep=None):
    """Logits of what fc6 reads (N, inputs)."""
    if keep is None:
        keep = 1.0 if name in ("caffe", "torchvision") else 0.5
    for layer in ("fc6", "fc7"):
        values = F.relu(values @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]) * keep
    return values @ weights["fc8.weight"].T + weights["fc8.bias"]


def _split(weights, layer, columns):
    """A layer's filters and biases, column by column."""
    both = weights[f"{layer}.weight"].chunk(columns), weights[f"{layer}.bias"].chunk(columns)
    return list(zip(*both, strict=True))


def _own(weights, layer, parts, *, pad):
    """A convolution whose columns read nothing but themselves, and its ReLU."""
    return [
        F.relu(F.conv2d(part, w, b, padding=pad))
        for part, (w, b) in zip(parts, _split(weights, layer, len(parts)), strict=True)
    ]


def _pool(maps):
    """Windows at every other place; where a last one hangs over the edge it is filled up."""
    down, across = ((side - 3) % 2 for side in maps.shape[2:])
    return F.max_pool2d(F.pad(maps, (0, across, 0, down), value=-torch.inf), 3, 2)


def _normalised(name, parts):
    """PyTorch's own, which divides alpha by the five maps of the window; Caffe's has one column."""
    if name == "caffe":
        whole = F.local_response_norm(torch.cat(parts, 1), 5, alpha=1e-4, beta=0.75, k=1)
        return whole.chunk(2, 1)
    alpha = 1e-4 if name in AS_RUN else 5e-4
    return [F.local_response_norm(part, 5, alpha=alpha, beta=0.75, k=2) for part in parts]


def _same_map(maps):
    """Net #145's cnorm2: each value over the 25 around it on its own map."""
    height, width = maps.shape[2:]
    squares = F.pad(maps.square(), (2, 2, 2, 2))
    sums = sum(squares[:, :, y : y + height, x : x + width] for y in range(5) for x in range(5))
    return maps * (1 + 4e-5 * sums) ** -0.75


def _torchvision(weights, crops):
    maps = crops
    for layer, stride, padding, pooled in (
        ("conv1", 4, 2, True),
        ("conv2", 1, 2, True),
        ("conv3", 1, 1, False),
        ("conv4", 1, 1, False),
        ("conv5", 1, 1, True),
    ):
        weight, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        maps = F.relu(F.conv2d(maps, weight, bias, stride=stride, padding=padding))
        maps = F.max_pool2d(maps, 3, 2) if pooled else maps
    return maps
