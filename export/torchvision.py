"""A state dict of torchvision's `alexnet`: alone, or in what training programs save around it.

Programs wrap the network (DataParallel and DistributedDataParallel: `module.`, around the features
alone `features.module.`; torch.compile: `_orig_mod.`; their own classes: `model.`) and put its
state dict beside an optimizer's, a counter of epochs, or an average of its weights.
"""

from __future__ import annotations

import argparse
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet.config import preset
from export.foreign import Foreign, ForeignModelError

_LAYERS = {
    "conv1": "features.0", "conv2": "features.3", "conv3": "features.6", "conv4": "features.8",
    "conv5": "features.10", "fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6",
}  # fmt: skip
_FIRST = "features.0.weight"
# Parts of names that PyTorch's own wrappers add, and a counter that is no weight of the network.
_WRAPPERS = ("module", "_orig_mod")
_COUNTER = "n_averaged"


def read_state_dict(path: Path, *, entry: str | None = None) -> Foreign:
    """The network of a state dict; code that a file of PyTorch may hold is never run.

    Args:
        path: the file.
        entry: which entry of it holds the network's weights, where there are several.

    Raises:
        ForeignModelError: the file is damaged, holds more than tensors, or is of another network.
    """
    tensors = _unwrapped(path, _chosen(path, _loaded(path), entry))
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


def _loaded(path: Path) -> Any:
    if _is_torchscript(path):
        raise ForeignModelError(
            f"{path} is a TorchScript archive, which holds code: save the network's state_dict()."
        )
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # of what the sentences below say
            torch.serialization.safe_globals(_HARMLESS),
        ):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ForeignModelError(
            f"{path} is no file of tensors alone: it is damaged, or holds code, which is never "
            "run; save the network's state_dict()."
        ) from error
    except OSError:
        raise
    except Exception as error:  # what PyTorch raises on damaged files shares no base class
        raise ForeignModelError(f"{path} is no whole file of PyTorch: copy it again.") from error


def _scalars() -> list[Any]:
    """What NumPy's numbers are made of in a pickle: programs save their best accuracy as one."""
    scalar = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = {type(np.dtype(kind)) for kind in "fdilqQ?"}
    return [*((scalar, name) for name in names), np.dtype, *kinds]


# Beside PyTorch's own list: values without behaviour. A Namespace is what options were read into.
_HARMLESS = [argparse.Namespace, *_scalars()]


def _is_torchscript(path: Path) -> bool:
    with suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
    return False


def _chosen(path: Path, found: Any, entry: str | None) -> dict[str, Tensor]:
    """The state dict of a network that is meant."""
    entries = dict(_state_dicts(found))
    if entry is not None:
        if entry not in entries:
            known = ", ".join(name for name in entries if name) or "none"
            raise ForeignModelError(
                f"{path} has no entry '{entry}' with a network's weights: there is {known}."
            )
        return entries[entry]
    if not entries:
        kind = "" if isinstance(found, dict) else f" but a {type(found).__name__}"
        raise ForeignModelError(
            f"{path} is no state dict{kind}, which holds tensors by their names, nor does it hold "
            "one: save the network's state_dict()."
        )
    if len(entries) > 1:
        raise ForeignModelError(
            f"{path} holds the weights of {len(entries)} networks, {', '.join(entries)}: choose "
            "one with --entry."
        )
    return next(iter(entries.values()))


def _state_dicts(found: Any) -> dict[str, dict[str, Tensor]]:
    """All state dicts with a convolution in them, by their place: "" for the whole file."""
    if not isinstance(found, Mapping):
        return {}
    tensors = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors and len(tensors) == len(found):
        return {"": tensors}
    inner = {}
    for name, value in found.items():
        for place, tensors in _state_dicts(value).items():
            if any(tensor.ndim == 4 for tensor in tensors.values()):
                inner[f"{name}.{place}" if place else str(name)] = tensors
    return inner


def _unwrapped(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by torchvision's names, without what wrappers put into them."""
    plain: dict[str, str] = {}
    for name in tensors:
        bare = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        if bare in plain:
            raise ForeignModelError(
                f"{path} holds both '{plain[bare]}' and '{name}', which are one layer's: save the "
                "state_dict() of one network."
            )
        plain[bare] = name
    firsts = [bare.removesuffix(_FIRST) for bare in plain if bare.endswith(_FIRST)]
    if len(firsts) > 1:
        raise ForeignModelError(
            f"{path} holds the weights of {len(firsts)} networks, "
            f"{' and '.join(plain[first + _FIRST] for first in firsts)}: save the state_dict() of "
            "one."
        )
    prefix = firsts[0] if firsts else ""
    return {
        bare.removeprefix(prefix): tensors[name]
        for bare, name in plain.items()
        if bare.removeprefix(prefix) != _COUNTER
    }
