"""Which photos and shards a command line means, in one order on every machine."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

from alexnet.photo_endings import READ_ENDINGS
from serve import braces, remote
from serve.folders import InputError, LeftOut, blocks_of, matches, photos_in, split
from serve.manifests import encoding_of, manifest_paths
from serve.shards import is_empty, is_shard

__all__ = ["InputError", "Inputs", "entries"]

STDIN = "-"
"""The argument that stands for a list on stdin."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a command line names."""

    arguments: tuple[str, ...] = ()
    """Files, folders, globs, names with braces, shards, URLs, and `-`."""
    manifest: str | None = None
    """A table of paths, which follow those of the arguments."""
    path_column: str = "path"
    delimiter: str | None = None
    """Between the cells of a CSV table; None: it is found."""
    null: bool = False
    """Whether null characters, and not lines, end the paths on stdin."""

    @property
    def are_countable(self) -> bool:
        """Whether they can be listed twice: a pipe can't."""
        table = self.manifest
        is_kept = table is None or remote.is_url(table) or Path(table).is_file()
        return is_kept and STDIN not in self.arguments


def entries(inputs: Inputs, left_out: LeftOut | None = None) -> Iterator[str]:
    """Paths and URLs of the photos and shards that `inputs` mean, found while they are asked for.

    A file is taken whatever its name. A folder gives the photos in it and in the folders below,
    sorted by the bytes of their paths: those with a photo's ending, and without any those that
    begin like a photo; hidden ones left out.
    A glob (`*`, `?`, `[...]`, and `**` for any depth) gives the files that it matches, sorted the
    same way. What is named twice comes twice. Whether a path of a list or table, or a URL of a
    file, leads anywhere shows when it is read.

    Args:
        inputs: what is meant.
        left_out: counts what a search passed over.

    Raises:
        InputError: an input does not exist, a glob matches no file, a place can't be read, or a
            path of a list or table holds a null character.
    """
    left_out, none = left_out or LeftOut(), True
    empty, in_tars = [], LeftOut()
    for entry in _all(inputs, left_out):
        if "\0" in entry:
            start = entry.partition("\0")[0]
            raise InputError(
                f"A path holds a null character, after {start[:200]}: a list with null characters "
                "between its paths needs --null."
            )
        # Tars without photos get a row each, beside anything else.
        if none and is_shard(entry) and not remote.is_url(entry) and is_empty(entry, in_tars):
            empty.append(entry)
        else:
            none = False
        yield entry
    if none:
        folders = left_out.folders + in_tars.folders
        more = f" {folders:,} folders were left out." if folders else ""
        named = ", ".join([*left_out.inputs, *empty][:10])
        raise InputError(
            f"There are no photos in {named}: folders and tars are searched for "
            f"{', '.join(sorted(READ_ENDINGS))}, and tars are named by themselves.{more}"
        )


def _all(inputs: Inputs, left_out: LeftOut) -> Iterator[str]:
    """What each input gives; those that give nothing are noted."""
    for name, found in _each(inputs, left_out):
        first = next(found, None)
        if first is None:
            left_out.inputs.append(name)
        else:
            yield first
            yield from found


def _each(inputs: Inputs, left_out: LeftOut) -> Iterator[tuple[str, Iterator[str]]]:
    for text in inputs.arguments:
        if text == STDIN:
            yield "the list on stdin", _listed(_stdin(), null=inputs.null)
        else:
            yield text, _meant(text, left_out)
    if inputs.manifest is not None:
        table = inputs.manifest, inputs.path_column
        yield inputs.manifest, manifest_paths(*table, delimiter=inputs.delimiter)


def _meant(text: str, left_out: LeftOut) -> Iterator[str]:
    path = Path(text)
    if not text:  # Path("") would be the current folder
        raise InputError("An input is empty: name a file, a folder or a glob.")
    if os.path.lexists(path):  # also asked for names that are too long for a file, as braces can be
        if path.is_dir():
            yield from photos_in(text, left_out)
        elif path.is_file() or path.is_symlink():  # a broken link gets its row, with an error
            yield os.fspath(path)
        else:
            raise InputError(f"{text} is neither a file nor a folder.")
    elif braces.has_braces(text):
        for name in braces.expand(text):
            if braces.has_braces(name):
                raise InputError(f"{text} has braces inside braces: write one name for each.")
            yield from _meant(name, left_out)
    elif remote.is_url(text):
        yield from remote.photos_behind(text, left_out)
    elif any(character in text for character in "*?["):
        yield from matches(text, left_out)
    else:
        raise InputError(f"There is no file or folder {text}.")


def _stdin() -> IO[bytes]:
    # A file object of our own: Python aborts at exit when a thread waits in that of sys.stdin.
    if sys.stdin is None:
        raise InputError("There is no stdin to read a list from.")
    return open(sys.stdin.fileno(), "rb", closefd=False)


def _listed(file: IO[bytes], *, null: bool) -> Iterator[str]:
    """The paths of a list, without its byte-order mark; one in UTF-16 is read as that."""
    head = file.read(4)  # a mark, or two letters with their zeros
    encoding = encoding_of(head)
    if null and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF8)):
        encoding = "utf-8"  # a zero ends the path of one letter
    blocks: Iterator[bytes] = chain([head.removeprefix(codecs.BOM_UTF8)], blocks_of(file))
    if not encoding.startswith("utf-8"):
        blocks = _decoded(blocks, encoding)
    pieces = split(blocks, b"\0" if null else b"\n")
    return (os.fsdecode(piece) for piece in (pieces if null else map(_without_cr, pieces)) if piece)


def _decoded(blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block in blocks:
            yield os.fsencode(decoder.decode(block))
        yield os.fsencode(decoder.decode(b"", final=True))
    except UnicodeError as error:
        raise InputError(f"The list on stdin can't be read as {encoding}: {error}.") from error


def _without_cr(line: bytes) -> bytes:
    return line.rstrip(b"\r")
