"""index.npz: where each photo of a data set lies. One row a photo, in the order of the shards."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS = {
    "split": np.uint8,  # 0 train, 1 val
    "shard": np.uint32,  # position in dataset.json's list of shards
    "offset": np.uint64,  # of the JPEG's first byte in its shard
    "length": np.uint32,  # of the JPEG, in bytes
    "label": np.int32,
}
Index = Mapping[str, NDArray[Any]]


def write_index(path: Path, index: Index) -> None:
    """Write the columns as an uncompressed .npz (equal columns give equal bytes)."""
    columns: dict[str, Any] = {name: index[name].astype(kind) for name, kind in COLUMNS.items()}
    with path.open("wb") as file:
        np.savez(file, **columns)


def read_index(path: Path) -> Index:
    """The columns, mapped into memory: 1.2 million photos cost no memory until they are used.

    Raises:
        ValueError: the file is not a whole index.
        OSError: it can't be read.
    """
    try:
        index = _mapped(path)
    except (zipfile.BadZipFile, struct.error) as error:
        raise ValueError(f"{error}") from error
    types = {name: column.dtype for name, column in index.items()}
    if types != {name: np.dtype(kind) for name, kind in COLUMNS.items()}:
        raise ValueError("it does not hold the columns of an index")
    if len({column.shape for column in index.values()}) != 1:
        raise ValueError("its columns have different lengths")
    return index


def _mapped(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an uncompressed .npz, memory-mapped (`np.load` maps .npy files only)."""
    arrays: dict[str, NDArray[Any]] = {}
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{entry.filename} is compressed")
            file.seek(entry.header_offset)
            name, extra = struct.unpack("<26xHH", file.read(30))  # the zip format's local header
            file.seek(name + extra, os.SEEK_CUR)
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError(f"{entry.filename} is of an unknown .npy version")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            arrays[entry.filename.removesuffix(".npy")] = np.memmap(
                path, dtype=dtype, mode="r", offset=file.tell(), shape=shape
            )
    return arrays
