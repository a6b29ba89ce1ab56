"""From photos to a shard: each one resized once and stored as JPEG, in a WebDataset tar.

A shard's photos are chosen before any is decoded, so that shards are made independently of each
other: a finished one survives a killed run, with its statistics in a file of their own.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.config import InputConfig
from alexnet.files import atomic_path, naming, sha256_of
from alexnet.photo import MAX_PIXELS, PhotoError, load_photo
from train.catalogue import Item
from train.dataset import decode_jpeg
from train.listing import Member, Rejection, SourceError

QUALITY = 95
SUBSAMPLING = "4:4:4"
MAX_BYTES = 512 << 20
"""Larger files are left out: a worker reads a photo whole."""


class Batch(NamedTuple):
    """What a worker made of some photos."""

    photos: list[bytes | Rejection]
    """A JPEG or the reason why there is none, in the order of the photos."""
    verbatim: int
    """Photos that are stored as they were."""
    sums: NDArray[np.uint16]
    """(S, S, 3): the sum of the photos, as a reader will decode them."""
    products: NDArray[np.int64]
    """(3, 3): the sum of every pixel's RGB outer product with itself."""


class Stored(NamedTuple):
    """A photo as it is stored."""

    jpeg: bytes
    pixels: NDArray[np.uint8]
    """(S, S, 3): what the JPEG decodes to."""
    verbatim: bool


def batch_size(size: int) -> int:
    """Photos that a worker gets at once: about 4 MB of pixels, and 16-bit sums must hold them."""
    return max(1, min(64, (4 << 20) // (3 * size * size)))


def store_batch(
    items: Sequence[Item], input: InputConfig, *, max_pixels: int = MAX_PIXELS
) -> Batch:
    """Read, resize and encode photos; a bad one becomes its `Rejection`.

    Raises:
        OSError: a source can't be read (what is no fault of one photo ends the run).
    """
    photos: list[bytes | Rejection] = []
    verbatim = 0
    sums = np.zeros((input.size, input.size, 3), dtype=np.uint16)
    products = np.zeros((3, 3), dtype=np.int64)
    for item in items:
        try:
            stored = store_photo(_read(item.member), input, max_pixels=max_pixels)
        except PhotoError as error:
            photos.append(Rejection(item.member.name, error.code, str(error)))
            continue
        photos.append(stored.jpeg)
        verbatim += stored.verbatim
        sums += stored.pixels
        # Whole numbers below 2^53: the float64 product is exact in any order of summation.
        pixels = stored.pixels.reshape(-1, 3).astype(np.float64)
        products += (pixels.T @ pixels).astype(np.int64)
    return Batch(photos, verbatim, sums, products)


def store_photo(data: bytes, input: InputConfig, *, max_pixels: int = MAX_PIXELS) -> Stored:
    """The JPEG of a photo as `input` wants it.

    A JPEG whose plain decoding is already what `load_photo` gives (it is of the right size, RGB and
    upright) keeps its bytes.

    Raises:
        PhotoError: the photo can't be read.
    """
    photo = load_photo(data, input, max_pixels=max_pixels)
    if photo.format == "JPEG" and (photo.width, photo.height) == (input.size, input.size):
        try:
            if np.array_equal(decode_jpeg(data), photo.pixels):
                return Stored(data, photo.pixels, verbatim=True)
        except ValueError:  # only load_photo reads it: it is encoded anew
            pass
    out = io.BytesIO()
    image = Image.fromarray(photo.pixels)
    image.save(out, "JPEG", quality=QUALITY, subsampling=SUBSAMPLING)
    return Stored(out.getvalue(), decode_jpeg(out.getvalue()), verbatim=False)


def _read(member: Member) -> bytes:
    if member.length > MAX_BYTES:
        raise PhotoError(
            f"The file has {member.length >> 20} MB, and {MAX_BYTES >> 20} MB is the limit.",
            code="file_too_large",
        )
    try:
        with naming(member.path), Path(member.path).open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), member.length, member.offset)
    except PermissionError as error:
        raise PhotoError("This file may not be read.", code="unreadable_file") from error
    if len(data) != member.length:
        raise SourceError(f"{member.path} was changed while it was read: run the command again.")
    return data


@dataclass(kw_only=True)
class Shard:
    """What is known of a finished shard."""

    bytes: int
    sha256: str
    verbatim: int
    offset: NDArray[np.uint64]
    """(N,) as the next two: one entry for each photo of the shard."""
    length: NDArray[np.uint32]
    label: NDArray[np.int32]
    sums: NDArray[np.int64]
    """(S, S, 3)"""
    products: NDArray[np.int64]
    """(3, 3)"""
    rejected: list[Rejection]

    def save(self, path: Path) -> None:
        """Write to an .npz, atomically."""
        arrays: dict[str, Any] = {name: np.array(value) for name, value in vars(self).items()}
        arrays["rejected"] = np.array(self.rejected, dtype=str).reshape(-1, 3)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> Shard:
        """The inverse of `save`."""
        with np.load(path, allow_pickle=False) as arrays:
            fields: dict[str, Any] = {name: arrays[name] for name in arrays.files}
        fields |= {name: fields[name].item() for name in ("bytes", "sha256", "verbatim")}
        fields["rejected"] = [Rejection(*row) for row in fields["rejected"].tolist()]
        return cls(**fields)


def write_shard(
    path: Path, batches: Iterable[tuple[Sequence[Item], Batch]], *, first: int, size: int
) -> Shard:
    """Write the photos of `batches` to the tar `path`; `first` is the key of the first photo.

    Keys count all photos of a split, also those that are left out. Equal photos give equal bytes.
    """
    rows: list[tuple[int, int, int]] = []
    rejected: list[Rejection] = []
    verbatim, key = 0, first
    sums = np.zeros((size, size, 3), dtype=np.int64)
    products = np.zeros((3, 3), dtype=np.int64)
    with naming(path), tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for items, batch in batches:
            for item, photo in zip(items, batch.photos, strict=True):
                if isinstance(photo, Rejection):
                    rejected.append(photo)
                else:
                    offset = _add(tar, f"{key:08}.jpg", photo)
                    _add(tar, f"{key:08}.cls", str(item.label).encode())
                    rows.append((offset, len(photo), item.label))
                key += 1
            verbatim += batch.verbatim
            sums += batch.sums
            products += batch.products
    _sync(path)
    offsets, lengths, labels = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return Shard(
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        verbatim=verbatim,
        offset=offsets.astype(np.uint64),
        length=lengths.astype(np.uint32),
        label=labels.astype(np.int32),
        sums=sums,
        products=products,
        rejected=rejected,
    )


def _add(tar: Any, name: str, data: bytes) -> int:
    """Append a file, and return where its bytes begin."""
    entry = tarfile.TarInfo(name)  # mtime, uid and gid 0, mode 644
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
    tar.members.clear()  # else tarfile keeps every one
    return int(tar.offset) - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
