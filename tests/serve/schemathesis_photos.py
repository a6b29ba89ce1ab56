"""Gives schemathesis photos to send: no schema can say what is one (test_openapi.py names this)."""

import pillow_heif
import schemathesis
from hypothesis import strategies

from alexnet.container import FORMATS
from tests.photos import encode, pattern

pillow_heif.register_heif_opener()  # Pillow writes HEIF with it, too
for name in FORMATS:
    photo = encode(pattern(24, 16), name)
    schemathesis.openapi.media_type(f"image/{name.lower()}", strategies.just(photo))
