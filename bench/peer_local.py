"""Peers in this process: PyTorch eager, PyTorch's own export in ONNX Runtime, and our artifacts."""

from __future__ import annotations

import contextlib
import io
import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from alexnet.backends import open_backend
from alexnet.checkpoint import load_checkpoint
from alexnet.config import preset
from alexnet.errors import AlexNetError, optional_import
from alexnet.fresh import fresh_checkpoint
from alexnet.photo import load_photo
from alexnet.predictor import Predictor
from alexnet.views import Crops, views_of
from bench.interleave import Took
from bench.peer import BEST, FILES, Answer, Peer, Setup, best
from bench.peer_networks import plain_network, ten_crops, ten_crops_less_mean
from bench.processes import Apart
from bench.sessions import Opening
from bench.work import Pass, Query


def torchvision(setup: Setup, _: ExitStack) -> Peer:
    """torchvision's AlexNet with TenCrop in eager PyTorch; untrained, which runs as fast."""
    checkpoint = fresh_checkpoint(preset("torchvision"))
    network = plain_network(checkpoint.config)
    network.load_state_dict(dict(checkpoint.weights))
    _set_threads(setup.threads)

    def answer(data: bytes) -> Answer:
        with torch.inference_mode():
            crops = ten_crops(data, checkpoint.config.input)
            return best(torch.softmax(network(crops), dim=1).mean(0).numpy())

    return Peer(
        name="torchvision's AlexNet, eager",
        part="torchvision",
        what="one column, no normalisation, TenCrop",
        config=checkpoint.config,
        answer=answer,
    )


def ten_crop_eager(setup: Setup, _: ExitStack) -> Peer:
    """This network as plain PyTorch layers, behind the same steps as torchvision's.

    Raises:
        AlexNetError: it subtracts no mean image from the whole photo.
    """
    checkpoint = load_checkpoint(setup.checkpoint)
    config, mean = checkpoint.config, checkpoint.mean
    if mean is None or config.input.mean != "aligned" or config.input.order != "rgb":
        raise AlexNetError(f"{config.preset} takes other crops than a mean image's: take paper.")
    network = plain_network(config)
    network.load_state_dict(dict(checkpoint.weights))
    _set_threads(setup.threads)

    def answer(data: bytes) -> Answer:
        with torch.inference_mode():
            crops = ten_crops_less_mean(data, config.input, mean)
            return best(torch.softmax(network(crops), dim=1).mean(0).numpy())

    return Peer(
        name="PyTorch eager, TenCrop",
        part="tencrop",
        what="this network as people write it",
        config=config,
        answer=answer,
    )


def eager(setup: Setup, stack: ExitStack) -> Peer:
    """Our network in eager PyTorch: the baseline."""
    peer = artifact(setup, stack, setup.checkpoint, part="eager")
    return replace(peer, name="PyTorch eager", what="the baseline")


def legacy_export(setup: Setup, stack: ExitStack) -> Peer:
    """PyTorch's older exporter, by tracing; it needs no other package."""
    return _exported(setup, dynamo=False)


def dynamo_export(setup: Setup, stack: ExitStack) -> Peer:
    """PyTorch's exporter of today."""
    optional_import("onnxscript", extra="peers")
    return _exported(setup, dynamo=True)


def _exported(setup: Setup, *, dynamo: bool) -> Peer:
    """`torch.onnx.export` of a plain module on ten float crops, with its defaults."""
    checkpoint = load_checkpoint(setup.checkpoint)
    config = checkpoint.config
    network = plain_network(config)
    network.load_state_dict(dict(checkpoint.weights))
    views = views_of(config.input, "ten")
    example = torch.zeros(len(views), 3, config.input.crop, config.input.crop)
    kind = "dynamo" if dynamo else "legacy"
    path = setup.folder / f"pytorch-{kind}.onnx"
    # It prints and warns about its own progress.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        try:
            torch.onnx.export(network, (example,), path, dynamo=dynamo)
        except Exception as error:  # whatever this version of it can't do
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise AlexNetError(f"torch.onnx.export can't write it: {reason[0]}") from error
    session = _session(path, setup.threads)
    name = session.get_inputs()[0].name
    crops = Crops(config.input, checkpoint.mean)

    def answer(data: bytes) -> Answer:
        with torch.inference_mode():
            pixels = torch.from_numpy(load_photo(data, config.input).pixels)
            batch = crops(pixels[None], views).numpy()
        (logits,) = session.run(None, {name: batch})
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return best((powers / powers.sum(axis=1, keepdims=True)).mean(axis=0))

    return Peer(
        name=f"PyTorch's export ({kind}), ONNX Runtime",
        part="exported",
        what="nn.LocalResponseNorm, ten float crops",
        config=config,
        answer=answer,
    )


def _session(path: Path, threads: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def artifact(
    setup: Setup, stack: ExitStack, path: Path, *, part: str = "ours", name: str | None = None
) -> Peer:
    """A model file of ours behind the predictor, as every user of the package has it.

    It is timed in a process of its own: in one process, runtimes change each other's times.
    """
    backend = open_backend(path, threads=setup.threads)
    stack.callback(backend.close)
    predictor = Predictor(backend)
    session = Apart(Opening(path=path, backend=backend.name, threads=setup.threads))
    stack.callback(session.close)

    def answer(data: bytes) -> Answer:
        prediction = predictor.predict_one(data, top_k=BEST)
        if prediction.error is not None:
            raise prediction.error
        return [(score.index, score.probability) for score in prediction.scores]

    info = backend.info
    return Peer(
        name=name or f"{path.name} on {backend.name}",
        part=part,
        what=f"ours on {backend.name}, {info.precision}, {info.views} views",
        config=info.config,
        answer=answer,
        timed=session.call(Query([file.data for file in setup.photos], 1)),
        views=info.views,
        precision=info.precision,
    )


def pipelined(setup: Setup, stack: ExitStack, path: Path, *, name: str) -> Peer:
    """Many photos at once: decoded while the network runs, a call on each core, four at a time."""
    session = Apart(Opening(path=path, threads=setup.threads, mode="throughput"))
    stack.callback(session.close)
    call = session.call(Pass([file.data for file in setup.photos], FILES, 4))
    info = session.info

    def timed() -> Took:
        took = call()
        assert isinstance(took, Took), "a session in another process times its calls"
        return Took(took.seconds / FILES)

    return Peer(
        name=name,
        part="pipelined",
        what=f"ours on {session.name}, {FILES} photos at once; ms per photo",
        config=info.config,
        timed=timed,
        views=info.views,
        precision=info.precision,
    )


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
