"""Why a photo cannot be used: one error class for each reason, each with a stable code.

Where memory is short it is not the photo that is at fault, and the error no `PhotoError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alexnet.errors import AlexNetError


class PhotoError(AlexNetError):
    """A photo that cannot be used. `code` is stable, for programs; the message is a sentence."""

    code = "photo_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        """Take the sentence, and a code where it is not the class's own."""
        super().__init__(message)
        if code is not None:
            self.code = code


class UnreadablePhotoError(PhotoError):
    """The bytes are no picture (code `not_a_photo`), or there are none (`empty_file`)."""

    code = "not_a_photo"


class UnsupportedFormatError(PhotoError):
    """A picture of a format, or with pixels of a kind, that is not read."""

    code = "unsupported_format"


class CorruptPhotoError(PhotoError):
    """The file begins as a picture should and then breaks off or makes no sense."""

    code = "corrupt_photo"


class TooManyPixelsError(PhotoError):
    """The picture is larger than the limit; nothing of it was decoded."""

    code = "too_many_pixels"


class MissingPhotoError(PhotoError):
    """No file has this path (code `missing_file`), or it cannot be read (`unreadable_file`)."""

    code = "missing_file"


class NoNumbersError(PhotoError):
    """The photo was read, and the network's answer for it holds what is no number."""

    code = "no_numbers"


class InternalPhotoError(PhotoError):
    """A defect of ours stopped the photo; the log has the traceback."""

    code = "internal_error"


class OutOfMemoryError(AlexNetError):
    """There is no memory for a photo now; it may be as good as any, and pass another time."""


@contextmanager
def needing_memory() -> Iterator[None]:
    """Raise an `OutOfMemoryError` where memory is short."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemoryError(
            "There is not enough memory for one more photo: decode fewer at once, set a lower "
            "limit of pixels, or give this process more."
        ) from error
