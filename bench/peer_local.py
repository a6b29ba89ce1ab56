"""Peers on this machine, a process each: PyTorch eager, PyTorch's own export, our artifacts."""

from __future__ import annotations

import contextlib
import io
import warnings
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from alexnet.checkpoint import load_checkpoint
from alexnet.config import Config, preset
from alexnet.errors import AlexNetError, optional_import
from alexnet.views import views_of
from bench import peer_programs
from bench.interleave import Call, Took
from bench.peer import FILES, Peer, Setup
from bench.peer_networks import plain_network
from bench.peer_programs import EveryPhoto, NextPhoto, Program
from bench.processes import Apart, Opens, Remote
from bench.sessions import Opening
from bench.work import Answers, Pass, Query


def torchvision(setup: Setup, stack: ExitStack) -> Peer:
    """torchvision's AlexNet with TenCrop in eager PyTorch; untrained, which runs as fast."""
    return _program(
        setup,
        stack,
        partial(peer_programs.torchvision, setup.threads),
        name="torchvision's AlexNet, eager",
        part="torchvision",
        what="one column, no normalisation, TenCrop",
        config=preset("torchvision"),
    )


def ten_crop_eager(setup: Setup, stack: ExitStack) -> Peer:
    """This network as plain PyTorch layers, behind the same steps as torchvision's.

    Raises:
        AlexNetError: it subtracts no mean image from the whole photo.
    """
    checkpoint = load_checkpoint(setup.checkpoint)
    config = checkpoint.config
    if checkpoint.mean is None or config.input.mean != "aligned" or config.input.order != "rgb":
        raise AlexNetError(f"{config.preset} takes other crops than a mean image's: take paper.")
    return _program(
        setup,
        stack,
        partial(peer_programs.ten_crop_eager, setup.checkpoint, setup.threads),
        name="PyTorch eager, TenCrop",
        part="tencrop",
        what="this network as people write it",
        config=config,
    )


def legacy_export(setup: Setup, stack: ExitStack) -> Peer:
    """PyTorch's older exporter, by tracing; it needs no other package."""
    return _exported(setup, stack, dynamo=False)


def dynamo_export(setup: Setup, stack: ExitStack) -> Peer:
    """PyTorch's exporter of today."""
    optional_import("onnxscript", extra="peers")
    return _exported(setup, stack, dynamo=True)


def _exported(setup: Setup, stack: ExitStack, *, dynamo: bool) -> Peer:
    """`torch.onnx.export` of a plain module on ten float crops, with its defaults."""
    kind = "dynamo" if dynamo else "legacy"
    path = setup.folder / f"pytorch-{kind}.onnx"
    config = _export(setup.checkpoint, path, dynamo=dynamo)
    return _program(
        setup,
        stack,
        partial(peer_programs.exported, path, setup.checkpoint, setup.threads),
        name=f"PyTorch's export ({kind}), ONNX Runtime",
        part="exported",
        what="nn.LocalResponseNorm, ten float crops",
        config=config,
    )


def _export(checkpoint_path: Path, path: Path, *, dynamo: bool) -> Config:
    checkpoint = load_checkpoint(checkpoint_path)
    config = checkpoint.config
    network = plain_network(config)
    network.load_state_dict(dict(checkpoint.weights))
    count = len(views_of(config.input, "ten"))
    example = torch.zeros(count, 3, config.input.crop, config.input.crop)
    # It prints and warns about its own progress.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        try:
            torch.onnx.export(network, (example,), path, dynamo=dynamo)
        except Exception as error:  # whatever this version of it can't do
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise AlexNetError(f"torch.onnx.export can't write it: {reason[0]}") from error
    return config


def _program(
    setup: Setup, stack: ExitStack, opens: Opens[Program], *, name: str, **said: Any
) -> Peer:
    """One of `bench.peer_programs` in a process of its own."""
    remote = Remote(opens, what=name)
    stack.callback(remote.close)
    photos = [file.data for file in setup.photos]
    return Peer(
        name=name,
        answers=remote.result(EveryPhoto(photos)),
        call=remote.call(NextPhoto(photos)),
        threads=setup.threads,
        **said,
    )


def eager(setup: Setup, stack: ExitStack) -> Peer:
    """Our network in eager PyTorch: the baseline."""
    peer = artifact(setup, stack, setup.checkpoint, part="eager")
    return replace(peer, name="PyTorch eager", what="the baseline")


def artifact(
    setup: Setup, stack: ExitStack, path: Path, *, part: str = "ours", name: str | None = None
) -> Peer:
    """A model file of ours behind the predictor, as every user of the package has it."""
    session = Apart(Opening(path=path, threads=setup.threads))
    stack.callback(session.close)
    query, info = Query([file.data for file in setup.photos], 1), session.info
    return Peer(
        name=name or f"{path.name} on {session.name}",
        part=part,
        what=f"ours on {session.name}, {info.precision}, {info.views} views",
        config=info.config,
        answers=session.result(Answers(query)),
        call=session.call(query),
        threads=setup.threads,
        views=info.views,
        precision=info.precision,
    )


def pipelined(setup: Setup, stack: ExitStack, path: Path, *, name: str) -> Peer:
    """Many photos at once: decoded while the network runs, a call on each core, four at a time."""
    session = Apart(Opening(path=path, threads=setup.threads, mode="throughput"))
    stack.callback(session.close)
    work = Pass([file.data for file in setup.photos], FILES, 4)
    info = session.info
    return Peer(
        name=name,
        part="pipelined",
        what=f"ours on {session.name}, {FILES} photos at once; ms per photo",
        config=info.config,
        answers=session.result(Answers(work)),
        call=each_of_many(session.call(work)),
        threads=setup.threads,
        views=info.views,
        precision=info.precision,
    )


def each_of_many(call: Call) -> Call:
    """The time of a call for `FILES` photos, of each of them."""

    def timed() -> Took:
        took = call()
        assert isinstance(took, Took), "what runs in another process times its calls"
        return Took(took.seconds / FILES)

    return timed
