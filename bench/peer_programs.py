"""What local peers run, each in a process of its own: eager PyTorch, and PyTorch's exports.

Written as people write it; nothing here is imported where it is not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from alexnet.checkpoint import Checkpoint, load_checkpoint
from alexnet.config import preset
from alexnet.fresh import fresh_checkpoint
from alexnet.labels import Label
from alexnet.photo import load_photo
from alexnet.predictor import top_scores
from alexnet.views import Crops, views_of
from bench.interleave import Call
from bench.peer import BEST
from bench.peer_networks import plain_network, ten_crops, ten_crops_less_mean
from bench.work import Answer, answer_of


@dataclass(frozen=True)
class Program:
    """From the bytes of a photo to probabilities."""

    probabilities: Callable[[bytes], NDArray[np.float32]]
    """Of all classes."""
    labels: Sequence[Label]


@dataclass(frozen=True)
class NextPhoto:
    """The best classes of one photo after the other, in turns."""

    photos: Sequence[bytes]

    def bind(self, program: Program) -> Call:
        """Answers for the next photo."""
        turn = cycle(self.photos)
        return lambda: top_scores(program.probabilities(next(turn)), program.labels, top_k=BEST)


@dataclass(frozen=True)
class EveryPhoto:
    """The answers to all photos with all their classes, to be looked at."""

    photos: Sequence[bytes]

    def bind(self, program: Program) -> Callable[[], list[Answer]]:
        """A list in the order of the photos."""

        def answer(data: bytes) -> Answer:
            found = program.probabilities(data)
            return answer_of(top_scores(found, program.labels, top_k=len(found)))

        return lambda: [answer(data) for data in self.photos]


def torchvision(threads: int | None) -> tuple[None, Program]:
    """torchvision's AlexNet with TenCrop; untrained, which runs as fast."""
    checkpoint = fresh_checkpoint(preset("torchvision"))
    network = _network(checkpoint, threads)

    def probabilities(data: bytes) -> NDArray[np.float32]:
        with torch.inference_mode():
            crops = ten_crops(data, checkpoint.config.input)
            return _mean_softmax(network(crops))

    return None, Program(probabilities, checkpoint.labels)


def ten_crop_eager(path: Path, threads: int | None) -> tuple[None, Program]:
    """A checkpoint with a mean image as plain PyTorch layers, behind TenCrop."""
    checkpoint = load_checkpoint(path)
    mean = checkpoint.mean
    assert mean is not None, "the one who opens it has looked"
    network = _network(checkpoint, threads)

    def probabilities(data: bytes) -> NDArray[np.float32]:
        with torch.inference_mode():
            crops = ten_crops_less_mean(data, checkpoint.config.input, mean)
            return _mean_softmax(network(crops))

    return None, Program(probabilities, checkpoint.labels)


def exported(graph: Path, path: Path, threads: int | None) -> tuple[None, Program]:
    """PyTorch's own export of a checkpoint's network in ONNX Runtime, on ten float crops."""
    checkpoint = load_checkpoint(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    config = checkpoint.config.input
    crops, views = Crops(config, checkpoint.mean), views_of(config, "ten")

    def probabilities(data: bytes) -> NDArray[np.float32]:
        with torch.inference_mode():
            pixels = torch.from_numpy(load_photo(data, config).pixels)
            batch = crops(pixels[None], views).numpy()
        (logits,) = session.run(None, {name: batch})
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        mean: NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).mean(axis=0)
        return mean

    return None, Program(probabilities, checkpoint.labels)


def _network(checkpoint: Checkpoint, threads: int | None) -> torch.nn.Module:
    if threads is not None:
        torch.set_num_threads(threads)
    network = plain_network(checkpoint.config)
    network.load_state_dict(dict(checkpoint.weights))
    return network


def _mean_softmax(logits: torch.Tensor) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = torch.softmax(logits, dim=1).mean(0).numpy()
    return mean
