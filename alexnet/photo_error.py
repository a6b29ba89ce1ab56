"""Why a photo cannot be used: one error class for each reason, each with a stable code."""

from __future__ import annotations

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
