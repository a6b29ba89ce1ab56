"""Checkpoints: one .safetensors file with weights, config, classes, mean image and origin."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.classifier import Classifier
from alexnet.color import ColorPCA
from alexnet.config import Config, Views
from alexnet.dense import DenseClassifier
from alexnet.errors import AlexNetError
from alexnet.files import atomic_path
from alexnet.header import FileKind, Header
from alexnet.labels import Label
from alexnet.network import AlexNet

# Tensors beside the weights; no layer is called so.
_MEAN, _STDS, _COMPONENTS = "mean_image", "color_pca.stds", "color_pca.components"


class CheckpointError(AlexNetError):
    """A file that is no checkpoint of ours, or not a whole one."""


CHECKPOINT = FileKind(
    name="checkpoint",
    version=1,
    foreign="is a .safetensors file of another program: it holds no alexnet config.",
    error=CheckpointError,
)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained (or freshly initialised) network and all that belongs to it."""

    config: Config
    weights: Mapping[str, Tensor]
    """By the names of `AlexNet.state_dict()`; float32 once loaded."""
    labels: tuple[Label, ...]
    mean: NDArray[np.float32] | None = None
    """Mean image of the training photos, RGB (S, S, 3) on 0-255; None with channel means."""
    color_pca: ColorPCA | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where it came from, as JSON values: command, recipe, data, versions, metrics."""

    def header(self) -> Header:
        """What its files say of it."""
        return Header(config=self.config, labels=self.labels, provenance=self.provenance)

    def network(self) -> AlexNet:
        """The network with these weights, in evaluation mode."""
        with torch.device("meta"):
            network = AlexNet(self.config)
        network.load_state_dict(dict(self.weights), assign=True)
        return network.eval()

    def classifier(self, views: Views = "ten") -> Classifier:
        """The deployed function of this checkpoint, of crops of square photos."""
        return Classifier(self.config, self.network(), self.mean, views=views)

    def deployed(self, views: Views = "ten") -> Classifier | DenseClassifier:
        """The deployed function of this checkpoint, with any views."""
        if views == "dense":
            return DenseClassifier(self.config, self.network(), self.mean)
        return self.classifier(views)


def shipped_model() -> Path:
    """The small trained model that comes with the package."""
    return Path(__file__).parent / "assets" / "mini.safetensors"


def save_checkpoint(
    checkpoint: Checkpoint, path: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32
) -> None:
    """Write `checkpoint` to `path`, atomically.

    `dtype` is how the weights are stored: float16 halves the file and rounds them.
    """
    tensors = {
        name: w.detach().cpu().to(dtype).contiguous() for name, w in checkpoint.weights.items()
    }
    if checkpoint.mean is not None:
        tensors[_MEAN] = torch.from_numpy(np.ascontiguousarray(checkpoint.mean, dtype=np.float32))
    if checkpoint.color_pca is not None:
        tensors[_STDS] = torch.from_numpy(np.array(checkpoint.color_pca.stds, dtype=np.float64))
        components = np.array(checkpoint.color_pca.components, dtype=np.float64)
        tensors[_COMPONENTS] = torch.from_numpy(np.ascontiguousarray(components))
    write_tensors(path, tensors, CHECKPOINT.metadata(checkpoint.header()))


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a .safetensors file, atomically; the same content gives the same bytes.

    Raises:
        OSError: it can't be written, because the disk is full, say.
    """
    whole = safetensors.torch.save(dict(tensors), metadata=dict(metadata))
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    # The library writes the metadata in an order that differs from process to process.
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8, as the format asks
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        file.write(memoryview(whole)[8 + length :])


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a file that `write_tensors` wrote.

    Raises:
        CheckpointError: the file is missing, or no whole .safetensors file.
    """
    with _opened(Path(path)) as file:
        return _tensors_of(file), file.metadata() or {}


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint; weights come back as float32, whatever they were stored as.

    Raises:
        CheckpointError: the file is missing, truncated, foreign, of a newer version, or its weights
            do not fit its config.
    """
    path = Path(path)
    with _opened(path) as file:
        header = CHECKPOINT.read(file.metadata() or {}, path)
        tensors = _tensors_of(file)
    mean = tensors.pop(_MEAN, None)
    stds, components = tensors.pop(_STDS, None), tensors.pop(_COMPONENTS, None)
    _check_weights(header.config, tensors, path)
    pca = None
    if stds is not None and components is not None:
        pca = ColorPCA(stds=stds.numpy(), components=components.numpy())
    return Checkpoint(
        config=header.config,
        weights={name: weight.float() for name, weight in tensors.items()},
        labels=header.labels,
        mean=None if mean is None else mean.float().numpy(),
        color_pca=pca,
        provenance=header.provenance,
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole .safetensors file ({error}): copy or train it again."
        ) from error


def _tensors_of(file: Any) -> dict[str, Tensor]:
    return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _check_weights(config: Config, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Name the first tensor that does not fit the config, and how."""
    with torch.device("meta"):
        expected = {name: tuple(w.shape) for name, w in AlexNet(config).state_dict().items()}
    for name, shape in expected.items():
        if name not in tensors:
            raise CheckpointError(f"{path} lacks the weights '{name}' of its own config.")
        if tuple(tensors[name].shape) != shape:
            raise CheckpointError(
                f"{path}: '{name}' has shape {tuple(tensors[name].shape)}, and its config asks "
                f"for {shape}."
            )
    extra = sorted(set(tensors) - set(expected))
    if extra:
        raise CheckpointError(f"{path} holds '{extra[0]}', which its config does not know.")
