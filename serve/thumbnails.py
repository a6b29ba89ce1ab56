"""Small squares of photos for a sheet, wherever the photos lie."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from alexnet.config import InputConfig
from alexnet.photo import PhotoError, Source, load_photo
from alexnet.tars import TAR_SUFFIXES
from serve.remote import is_url, read_url
from serve.shards import photos_in_shard

SIDE = 224
"""Pixels, twice what they measure on a page, for screens of high density."""

_IN_SHARD = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, TAR_SUFFIXES))}))/.+", re.IGNORECASE)


def thumbnails(paths: Iterable[str], folder: Path) -> dict[str, Image.Image | None]:
    """The photos of some rows, as the network sees them but smaller; None for those that are gone.

    Args:
        paths: as rows name them: files, URLs, and photos in shards (`shard.tar/key.jpg`).
        folder: where relative paths begin.
    """
    found: dict[str, Image.Image | None] = {}
    shards: dict[str, set[str]] = {}
    for path in dict.fromkeys(paths):
        shard = _IN_SHARD.fullmatch(path)
        if shard and not (folder / path).is_file():
            shards.setdefault(shard[1], set()).add(path)
        else:
            found[path] = _small(path if is_url(path) else folder / path)
    for name, wanted in shards.items():
        found |= _from_shard(name, wanted, folder)
    return found


def _from_shard(shard: str, wanted: set[str], folder: Path) -> dict[str, Image.Image | None]:
    """Photos of one shard, which is read once, as far as the last of them."""
    where = shard if is_url(shard) else str(folder / shard)
    found: dict[str, Image.Image | None] = dict.fromkeys(wanted)
    for path, content in photos_in_shard(where):
        name = shard + path.removeprefix(where)
        if name in wanted and not isinstance(content, PhotoError):
            found[name] = _small(content)
            wanted = wanted - {name}
            if not wanted:
                break
    return found


def _small(source: Source) -> Image.Image | None:
    try:
        if isinstance(source, str):
            source = read_url(source)
        return Image.fromarray(load_photo(source, InputConfig(size=SIDE), fast=True).pixels)
    except PhotoError:
        return None
