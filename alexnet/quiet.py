"""Keeps from people what Pillow and its libraries say of damaged files, in any thread.

`warnings.catch_warnings` swaps the filters of the whole process and so cannot be used by threads
that decode at the same time. Here one filter lies first in the list and matches only in threads
that are decoding at that moment: nobody else's warnings are touched.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

from PIL import _imaging


class _Decoding(threading.local):
    """How deep this thread is in `quiet_pillow`; stands where a filter has its pattern."""

    depth = 0

    def match(self, _: str) -> bool:
        """Whether the filter holds: `warnings` asks this of the pattern of a message."""
        return self.depth > 0


_decoding = _Decoding()
_filter = ("ignore", _decoding, Warning, None, 0)
_installing = threading.Lock()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence warnings, and log lines of Pillow's TIFF reader, of this thread within the block."""
    _install()
    _decoding.depth += 1
    try:
        yield
    finally:
        _decoding.depth -= 1


def _install() -> None:
    filters = cast(list[object], warnings.filters)
    if filters and filters[0] is _filter:
        return
    # Tests and catch_warnings replace the list or put filters in front: be first again.
    with _installing:
        if _filter in filters:
            filters.remove(_filter)
        filters.insert(0, _filter)


def _wanted(_: logging.LogRecord) -> bool:
    return _decoding.depth == 0


# The one logger of the six formats that logs above debug level.
logging.getLogger("PIL.TiffImagePlugin").addFilter(_wanted)


@functools.cache
def quiet_libtiff() -> None:
    """Stop libtiff from printing on stderr; called before the first TIFF is read.

    Pillow leaves libtiff's own printing on, and neither Python's warnings nor sys.stderr see it.
    The handlers belong to the copy of libtiff that Pillow loads, so this holds for every use of
    Pillow in the process. Where that copy cannot be reached (a static build), it keeps printing.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)  # a look-up in it also finds what it links to
        for handler in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            handler.argtypes, handler.restype = (ctypes.c_void_p,), ctypes.c_void_p
            handler(None)
