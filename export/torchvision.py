"""The state dict of torchvision's `alexnet` (.pth), as it is downloaded or saved."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from alexnet.config import preset
from export.foreign import Foreign, ForeignModelError

_LAYERS = {
    "conv1": "features.0", "conv2": "features.3", "conv3": "features.6", "conv4": "features.8",
    "conv5": "features.10", "fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6",
}  # fmt: skip


def read_state_dict(path: Path) -> Foreign:
    """The network of a state dict; code that a file of PyTorch may hold is never run.

    Raises:
        ForeignModelError: the file is damaged, holds more than tensors, or is of another network.
    """
    tensors = _tensors(path)
    config = preset("torchvision")
    output = tensors.get(f"{_LAYERS['fc8']}.weight")
    if output is not None and output.ndim == 2:
        config = replace(config, network=replace(config.network, classes=len(output)))
    names = {
        f"{ours}.{part}": f"{theirs}.{part}"
        for ours, theirs in _LAYERS.items()
        for part in ("weight", "bias")
    }
    return Foreign(path=path, kind="torchvision", config=config, names=names, tensors=tensors)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings(action="ignore"):  # of what the sentences below say
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ForeignModelError(
            f"{path} is no file of tensors alone: it is damaged, or holds code, which is never "
            "run; save the network's state_dict()."
        ) from error
    except OSError:
        raise
    except Exception as error:  # what PyTorch raises on damaged files shares no base class
        raise ForeignModelError(f"{path} is no whole file of PyTorch: copy it again.") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ForeignModelError(
            f"{path} is no state dict, which holds tensors by their names: save the network's "
            "state_dict()."
        )
    return {str(name): tensor for name, tensor in state.items()}
