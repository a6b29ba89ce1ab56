"""The endings of file names that are taken for photos where a folder or an archive is searched.

A photo of a format that is not read is listed like any other, so that it gets its row with the
decoder's sentence and does not vanish. An ending only says what is worth a look: what a file is
its bytes say (alexnet/container.py).
"""

from __future__ import annotations

READ_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".mpo", ".png", ".apng", ".webp"),
    *(".bmp", ".dib", ".tif", ".tiff", ".gif", ".avif", ".avifs"),
    *(".heic", ".heics", ".heif", ".heifs", ".hif"),
)
"""In lower case, of the formats that are read (HEIC with the extra `heif`)."""

RAW_ENDINGS = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq"),
    *(".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".ori", ".pef", ".raf"),
    *(".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
"""Of cameras' raw files, which are to be developed first."""

UNREAD_ENDINGS = (
    *RAW_ENDINGS,
    *(".jxl", ".jp2", ".j2c", ".j2k", ".jpc", ".jpf", ".jpx", ".jph", ".jhc"),
    *(".jxr", ".wdp", ".hdp", ".psd", ".psb", ".xcf", ".exr", ".qoi"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".tga"),
)
"""Of photos of formats that are not read: each gets a row that says so."""

_PHOTO_ENDINGS = frozenset(READ_ENDINGS + UNREAD_ENDINGS)


def has_photo_ending(name: str) -> bool:
    """Whether a path or URL path ends like a photo, read here or not; upper case counts, too."""
    return name[name.rfind(".") :].lower() in _PHOTO_ENDINGS if "." in name else False
