"""Every pixel format a picture can come in -> plain RGB with 8 bits a channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from alexnet.photo_error import UnsupportedFormatError

_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262
_WHITE_IS_ZERO = 0


def to_rgb(image: Image.Image) -> Image.Image:
    """A loaded picture of any mode as RGB, without a change to `image`.

    Alpha, palette transparency and transparent colours are laid on white; a BMP whose alpha is 0
    everywhere is opaque, as programs write it that leave the byte unused. CMYK is converted
    without colour profiles (inverted Adobe JPEGs are put right by Pillow's decoder before). Grey of
    16 bits is scaled, value * 255 / 65535 rounded; a 12-bit TIFF likewise with 4095. Colour of 16
    bits a channel keeps its upper 8 bits, which is all that Pillow hands on.

    Raises:
        UnsupportedFormatError: floating-point numbers, or integers outside 0..65535.
    """
    mode = image.mode
    if mode == "I" or mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if mode == "F":
        raise UnsupportedFormatError(
            "This picture's pixels are floating-point numbers, whose white is not known: "
            "save it with 8 or 16 bits a channel."
        )
    if _has_alpha(image):
        if mode == "La":  # premultiplied grey, which converts to LA only
            image = image.convert("LA")
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba)
        return white
    return image if mode == "RGB" else image.convert("RGB")


def _has_alpha(image: Image.Image) -> bool:
    if image.mode == "RGBA" and image.format == "BMP":
        return image.getchannel("A").getbbox() is not None
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return True
    if image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A"):
        return True
    return image.mode in ("1", "L", "P", "RGB") and "transparency" in image.info


def _eight_bits(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Grey of up to 16 bits -> uint8 (height, width), a transparent value becoming white."""
    values = np.asarray(image)
    if image.mode == "I":
        if values.min() < 0 or values.max() > 65535:
            raise UnsupportedFormatError(
                "This picture's pixels are integers outside 0..65535, whose white is not known: "
                "save it with 8 or 16 bits a channel."
            )
        return np.take(_levels(65535), values)
    tags: Any = getattr(image, "tag_v2", {})
    grey = np.take(_levels(4095 if tags.get(_TIFF_BITS) == (12,) else 65535), values)
    if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
        # Pillow turns round 8-bit pictures of this kind, but not 16-bit ones.
        np.subtract(255, grey, out=grey)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return grey


def _levels(white: int) -> npt.NDArray[np.uint8]:
    """The 8-bit level of each 16-bit value, `white` and all above it giving 255."""
    # Whites are odd numbers here, so that no value lies half-way between two levels.
    scaled = (np.arange(65536) * 255 + white // 2) // white
    return np.minimum(scaled, 255).astype(np.uint8)
