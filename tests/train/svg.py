"""What an SVG figure of matplotlib shows, as words, as lines of numbers and as pictures."""

import base64
import io
import re

import numpy as np
from PIL import Image

NEAR = 1.0
"""Points by which another version of matplotlib may lay the same figure out differently."""


def words(path):
    """The texts of a figure."""
    return sorted(re.findall(r"<text[^>]*>([^<]+)</text>", path.read_text("utf-8")))


def assert_alike(made, kept):
    """Two figures have the same texts, lines and markers in the same places, and pictures."""
    assert words(made)
    assert words(made) == words(kept)
    ours, theirs = _shapes(made), _shapes(kept)
    assert [kind for kind, _ in ours] == [kind for kind, _ in theirs]
    for (_, mine), (_, other) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=NEAR)
    pictures = [_pictures(path) for path in (made, kept)]
    assert len(pictures[0]) == len(pictures[1])
    for mine, other in zip(*pictures, strict=True):
        assert mine.shape == other.shape
        assert np.abs(mine.astype(int) - other).max() <= 2


def _shapes(path):
    """Paths with their commands, and places of markers, with their numbers to a tenth."""
    found = []
    for data, x, y in re.findall(
        r'<path d="([^"]*)"|<use [^>]*?x="([^"]*)" y="([^"]*)"', path.read_text("utf-8")
    ):
        numbers = re.findall(r"-?\d+(?:\.\d+)?", data) if data else [x, y]
        kind = re.sub(r"[^A-Za-z]", "", data) if data else "use"
        found.append((kind, np.round([float(number) for number in numbers], 1)))
    return found


def _pictures(path):
    found = re.findall(r'href="data:image/png;base64,([^"]*)"', path.read_text("utf-8"))
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]
