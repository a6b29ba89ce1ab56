"""The networks once more, written out with PyTorch's functions alone: a second opinion.

Nothing here comes from the package. Two columns are two tensors; numbers are those of fidelity.md.
"""

import torch
import torch.nn.functional as F


def forward(name, weights, crops):
    """Logits of `crops` for a preset's weights, both in float64."""
    if name == "torchvision":
        return _torchvision(weights, crops)
    maps = crops if name == "caffe" else F.pad(crops, (0, 3, 0, 3))
    a, b = (F.conv2d(maps, w, v, stride=4) for w, v in _halves(weights, "conv1"))
    if name == "net145":
        a, b = (F.relu(F.max_pool2d(_lrn(x, 1e-4, 2), 3, 2)) for x in (a, b))
    elif name == "paper":
        a, b = (F.max_pool2d(_lrn(F.relu(x), 5e-4, 2), 3, 2) for x in (a, b))
    else:
        a, b = F.max_pool2d(_lrn(F.relu(torch.cat((a, b), 1)), 1e-4, 1), 3, 2).split(48, 1)

    a, b = (
        F.relu(F.conv2d(x, w, v, padding=2))
        for x, (w, v) in zip((a, b), _halves(weights, "conv2"), strict=True)
    )
    if name == "net145":
        a, b = (_same_map(_lrn(x, 1e-4, 2)) for x in (a, b))
    elif name == "paper":
        a, b = (_lrn(x, 5e-4, 2) for x in (a, b))
    else:
        a, b = _lrn(torch.cat((a, b), 1), 1e-4, 1).split(128, 1)
    both = torch.cat((F.max_pool2d(a, 3, 2), F.max_pool2d(b, 3, 2)), 1)

    a, b = (F.relu(F.conv2d(both, w, v, padding=1)) for w, v in _halves(weights, "conv3"))
    for layer in ("conv4", "conv5"):
        a, b = (
            F.relu(F.conv2d(x, w, v, padding=1))
            for x, (w, v) in zip((a, b), _halves(weights, layer), strict=True)
        )
    maps = torch.cat((F.max_pool2d(a, 3, 2), F.max_pool2d(b, 3, 2)), 1)
    return _full(weights, maps.flatten(1), keep=1.0 if name == "caffe" else 0.5)


def _halves(weights, layer):
    """A layer's filters and biases, first column and second."""
    weight, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
    half = len(bias) // 2
    return (weight[:half], bias[:half]), (weight[half:], bias[half:])


def _lrn(maps, alpha, k):
    """PyTorch's own, which divides alpha by the five maps of the window."""
    return F.local_response_norm(maps, 5, alpha=alpha, beta=0.75, k=k)


def _same_map(maps):
    """Net #145's cnorm2: each value over the 25 around it on its own map."""
    height, width = maps.shape[2:]
    squares = F.pad(maps.square(), (2, 2, 2, 2))
    sums = sum(squares[:, :, y : y + height, x : x + width] for y in range(5) for x in range(5))
    return maps * (1 + 4e-5 * sums) ** -0.75


def _full(weights, values, *, keep):
    for layer in ("fc6", "fc7"):
        values = F.relu(values @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]) * keep
    return values @ weights["fc8.weight"].T + weights["fc8.bias"]


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
    return _full(weights, maps.flatten(1), keep=1.0)
