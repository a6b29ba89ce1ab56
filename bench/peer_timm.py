"""Peers for folders: timm as its inference.py uses it, and our predictor over the same files.

One view each, because timm's inference.py has no other. timm has no AlexNet either, so that its
data set, transforms and loader are given this network as plain PyTorch layers.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import torch

from alexnet.backends import open_backend
from alexnet.checkpoint import load_checkpoint
from alexnet.errors import MissingPackageError
from alexnet.fresh import MEAN_RGB
from alexnet.predictor import Predictor
from bench.peer import FILES, Peer, Setup
from bench.peer_networks import plain_network

# The defaults of inference.py are 256 photos, of which no folder here has so many, and 2 workers.
_BATCH, _WORKERS = 16, 2
_WHAT = f"a folder of {FILES} photos, one view; ms per photo"


def timm(setup: Setup, _: ExitStack) -> Peer:
    """timm's data set, transforms, loader and top five."""
    try:
        from timm.data import create_dataset, create_loader
    except Exception as error:  # a torchvision of another build fails with RuntimeError
        raise MissingPackageError(
            f"timm can't be imported ({error}): install timm, and the torchvision that was built "
            "for this torch."
        ) from error
    checkpoint = load_checkpoint(setup.checkpoint)
    config, place = checkpoint.config, checkpoint.config.input
    network = plain_network(config)
    network.load_state_dict(dict(checkpoint.weights))
    if setup.threads is not None:
        torch.set_num_threads(setup.threads)
    # Its transforms know means of channels only: a mean image costs as much.
    mean = place.mean_rgb or MEAN_RGB
    std = place.std_rgb or (1.0, 1.0, 1.0)
    loader = create_loader(
        create_dataset("", root=str(_folder(setup))),
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

    return Peer(name="timm", part="timm", what=_WHAT, config=config, folder=label, views="centre")


def ours(setup: Setup, stack: ExitStack) -> Peer:
    """The predictor on the graph of the centre view."""
    backend = open_backend(setup.graph("--views", "centre"), threads=setup.threads)
    stack.callback(backend.close)
    predictor = Predictor(backend, batch=_BATCH)
    paths = sorted(_folder(setup).iterdir())

    def label() -> None:
        for _ in predictor.predict(paths):
            pass

    return Peer(
        name="our predictor",
        part="timm",
        what=_WHAT,
        config=backend.info.config,
        folder=label,
        views="centre",
    )


def _folder(setup: Setup) -> Path:
    """A folder of copies of the run's photos, written once."""
    folder = setup.folder / "photos"
    if not folder.exists():
        folder.mkdir()
        for number in range(FILES):
            photo = setup.photos[number % len(setup.photos)]
            (folder / f"{number:02}{Path(photo.name).suffix}").write_bytes(photo.data)
    return folder
