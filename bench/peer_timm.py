"""Peers for folders: timm as its inference.py uses it, and our predictor over the same files.

One view each, because timm's inference.py has no other. timm has no AlexNet either, so that its
data set, transforms and loader are given this network as plain PyTorch layers.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from alexnet.checkpoint import load_checkpoint
from alexnet.errors import MissingPackageError
from alexnet.fresh import MEAN_RGB
from bench.interleave import Call
from bench.peer import FILES, Peer, Setup
from bench.peer_local import each_of_many
from bench.peer_networks import plain_network
from bench.processes import Apart, Remote
from bench.sessions import Opening
from bench.work import Pass

# The defaults of inference.py are 256 photos, of which no folder here has so many, and 2 workers.
_BATCH, _WORKERS = 16, 2
_WHAT = f"a folder of {FILES} photos, one view; ms per photo"

Label = Callable[[], None]


@dataclass(frozen=True)
class Folder:
    """All photos of a folder."""

    def bind(self, label: Label) -> Call:
        """Label them."""
        return label


def timm(setup: Setup, stack: ExitStack) -> Peer:
    """timm's data set, transforms, loader and top five."""
    _timm_data()  # what is missing is said at once
    opens = partial(open_timm, setup.checkpoint, _folder(setup), setup.threads)
    # Its loader starts processes.
    remote = Remote(opens, what="timm", parent=True)
    stack.callback(remote.close)
    return Peer(
        name="timm",
        part="timm",
        what=_WHAT,
        config=load_checkpoint(setup.checkpoint).config,
        call=each_of_many(remote.call(Folder())),
        threads=setup.threads,
        views="centre",
    )


def open_timm(path: Path, folder: Path, threads: int | None) -> tuple[None, Label]:
    """What labels a folder by a checkpoint."""
    # This process was spawned, and so would its loader's workers be, anew for every folder. In a
    # program of its own they start as the system's default says.
    multiprocessing.set_start_method(None, force=True)
    data = _timm_data()
    checkpoint = load_checkpoint(path)
    place = checkpoint.config.input
    network = plain_network(checkpoint.config)
    network.load_state_dict(dict(checkpoint.weights))
    if threads is not None:
        torch.set_num_threads(threads)
    # Its transforms know means of channels only: a mean image costs as much.
    mean = place.mean_rgb or MEAN_RGB
    std = place.std_rgb or (1.0, 1.0, 1.0)
    loader = data.create_loader(
        data.create_dataset("", root=str(folder)),
        input_size=(3, place.crop, place.crop),
        batch_size=_BATCH,
        num_workers=_WORKERS,
        use_prefetcher=False,
        interpolation=place.filter,
        mean=tuple(value / 255 for value in mean),
        std=tuple(value / 255 for value in std),
        crop_pct=place.crop / place.size,
    )

    def label() -> None:
        with torch.inference_mode():
            for batch, _ in loader:
                torch.softmax(network(batch), dim=1).topk(5)

    return None, label


def ours(setup: Setup, stack: ExitStack) -> Peer:
    """The predictor on the graph of the centre view."""
    session = Apart(Opening(path=setup.graph("--views", "centre"), threads=setup.threads))
    stack.callback(session.close)
    files = Pass(sorted(_folder(setup).iterdir()), FILES, _BATCH)
    return Peer(
        name="our predictor",
        part="timm",
        what=_WHAT,
        config=session.info.config,
        call=each_of_many(session.call(files)),
        threads=setup.threads,
        views="centre",
    )


def _timm_data() -> Any:
    try:
        import timm.data
    except Exception as error:  # a torchvision of another build fails with RuntimeError
        raise MissingPackageError(
            f"timm can't be imported ({error}): install timm, and the torchvision that was built "
            "for this torch."
        ) from error
    return timm.data


def _folder(setup: Setup) -> Path:
    """A folder of copies of the run's photos, written once."""
    folder = setup.folder / "photos"
    if not folder.exists():
        folder.mkdir()
        for number in range(FILES):
            photo = setup.photos[number % len(setup.photos)]
            (folder / f"{number:02}{Path(photo.name).suffix}").write_bytes(photo.data)
    return folder
