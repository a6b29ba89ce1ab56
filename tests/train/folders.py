"""Folders and archives of photos that tests prepare."""

import io
import tarfile

import numpy as np
from PIL import Image

from alexnet.config import InputConfig
from tests.photos import encode, pattern
from train.prepare import prepare


def write(folder, files):
    """Write {path: bytes} below `folder`."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def pets(count=6, *, prefix="", size=(24, 18)):
    """Two classes of `count` small photos each, as {path: bytes}."""
    return {
        f"{prefix}{name}/{number:03}.png": encode(pattern(*size, seed=number + 1000 * place))
        for place, name in enumerate(("cat", "dog"))
        for number in range(count)
    }


def archive(path, files, *, entries=()):
    """Write {path: bytes}, and then `entries` as they are, to a tar packed as its ending says."""
    packing = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz"}.get(path.suffix, "")
    with tarfile.open(path, f"w:{packing}") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for entry in entries:
            tar.addfile(entry)
    return path


def make(source, folder, *, size=16, fit="crop", filter="bilinear", **options):
    """Prepare `source` in this process."""
    config = InputConfig(size=size, crop=size, fit=fit, filter=filter)
    return prepare(str(source), folder, input=config, **options)


def contents(folder):
    """The bytes of every file of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def webdataset(shard):
    """The photos of a shard as any tar program finds them: [(key, pixels, class)]."""
    files = {}
    with tarfile.open(shard) as tar:
        for entry in tar:
            key, _, kind = entry.name.partition(".")
            files.setdefault(key, {})[kind] = tar.extractfile(entry).read()
    return [
        (key, np.asarray(Image.open(io.BytesIO(file["jpg"]))), int(file["cls"]))
        for key, file in files.items()
    ]
