"""Networks that other programs trained, as our checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.checkpoint import Checkpoint
from alexnet.config import InputConfig
from alexnet.errors import AlexNetError
from alexnet.files import sha256_of
from alexnet.fresh import default_labels
from alexnet.labels import Label, read_labels
from alexnet.machine import versions
from export.caffe import read_caffemodel, read_mean_image
from export.foreign import Foreign, ForeignModelError
from export.torchvision import read_state_dict

CAFFE_MEAN_RGB = (123.0, 117.0, 104.0)
"""Channel means of Caffe's mean image of ILSVRC-2012, rounded, RGB [C examples/02-fine-tuning]."""


def import_model(
    path: Path, *, mean: str | None = None, classes: Path | None = None, entry: str | None = None
) -> Checkpoint:
    """The network of another program's file, ready to be saved as a checkpoint.

    Args:
        path: a `.caffemodel`, the ONNX model zoo's `.onnx`, or torchvision's `.pth`, also under the
            other names that PyTorch's files have.
        mean: what is subtracted from photos: the name of a mean image (`.binaryproto`), or the
            means of red, green and blue on 0-255, as "R,G,B". None: those of the program's own
            ImageNet.
        classes: a file that names the classes, see `read_labels`; None: those of ILSVRC-2012 for
            1000 outputs, else "class 0", "class 1" and so on.
        entry: which entry of a file of PyTorch holds the weights, where there are several.

    Raises:
        AlexNetError: the file is missing, damaged, or holds no AlexNet; the sentence names the
            first tensor that differs, and how.
    """
    if not path.is_file():
        raise ForeignModelError(f"There is no file {path}.")
    ending = path.suffix.lower()
    if ending not in (*_READERS, *PYTORCH):
        raise ForeignModelError(
            f"{path} can't be imported: a network's name ends in "
            f"{', '.join((*_READERS, *PYTORCH))}."
        )
    if entry is not None and ending not in PYTORCH:
        raise ForeignModelError(f"--entry is for files of PyTorch, and {path} is none by its name.")
    try:
        read = _READERS.get(ending)
        found = read_state_dict(path, entry=entry) if read is None else read(path)
        weights = found.weights()
    except AlexNetError:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        # Numbers that no layer has: a bad file, and no defect of ours.
        raise ForeignModelError(f"{path} is no AlexNet, or damaged: {error}") from error
    labels = _labels(found.config.network.classes, classes)
    photos, image, origin = _mean(found, mean)
    return Checkpoint(
        config=replace(found.config, input=photos),
        weights=weights,
        labels=labels,
        mean=image,
        provenance={
            "imported": {"file": path.name, "sha256": sha256_of(path), "kind": found.kind},
            "preset": found.config.preset,
            "mean": origin,
            "versions": versions("torch"),
        },
    )


def _read_onnx(path: Path) -> Foreign:
    from export.zoo import read_onnx  # here, so that the other files need no onnx

    return read_onnx(path)


_READERS: dict[str, Callable[[Path], Foreign]] = {
    ".caffemodel": read_caffemodel,
    ".onnx": _read_onnx,
}
PYTORCH = (".pth", ".pt", ".tar", ".ckpt", ".bin")
"""Endings of PyTorch's files; `.tar` is its custom for checkpoints, `.pth.tar`, and no tar."""


def _labels(outputs: int, classes: Path | None) -> tuple[Label, ...]:
    if classes is None:
        return default_labels(outputs)
    labels = read_labels(classes)
    if len(labels) != outputs:
        raise ForeignModelError(
            f"{classes} names {len(labels)} classes, and the network has {outputs} outputs."
        )
    return labels


def _mean(
    found: Foreign, wanted: str | None
) -> tuple[InputConfig, NDArray[np.float32] | None, str]:
    """How photos enter, the mean image where there is one, and where the mean is from."""
    entry = found.config.input
    if wanted is None:
        if entry.mean_rgb is not None:
            return entry, None, "channel means of the preset"
        own = replace(entry, mean="channel", mean_rgb=CAFFE_MEAN_RGB)
        return own, None, "channel means of ILSVRC-2012 as Caffe publishes them"
    if not wanted.endswith(".binaryproto"):
        return replace(entry, mean="channel", mean_rgb=_channels(wanted)), None, "channel means"
    path = Path(wanted)
    if not path.is_file():
        raise ForeignModelError(f"There is no mean image {path}.")
    image = read_mean_image(path)
    if len(image) != entry.size:
        raise ForeignModelError(
            f"{path} has sides of {len(image)} pixels, and the photos have {entry.size}."
        )
    aligned = replace(entry, mean="aligned", mean_rgb=None)
    return aligned, image, f"mean image {path.name}, sha256 {sha256_of(path)}"


def _channels(text: str) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(part) for part in text.split(","))
        if not all(0 <= value <= 255 for value in (red, green, blue)):
            raise ValueError(text)
    except ValueError:
        raise ForeignModelError(
            f"The mean '{text}' is neither a .binaryproto nor R,G,B: three numbers from 0 to 255."
        ) from None
    return red, green, blue
