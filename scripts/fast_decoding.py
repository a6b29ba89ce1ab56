"""What `fast` decoding (Pillow's draft) changes in the answers for large JPEGs, and what it saves.

    python scripts/fast_decoding.py PHOTOS [--model MODEL] [--megapixels 12] [--count 50]

Photos from a folder are enlarged, written as JPEG of quality 90, and answered twice: decoded in
full, and decoded small. Prints one JSON line: how many best classes change, how far any probability
moves, and the median processor time to decode and fit a photo both ways.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alexnet.backends import Backend, open_backend
from alexnet.json_text import to_json
from alexnet.photo import load_photo

ENDINGS = (".jpg", ".jpeg")


def enlarged(path: Path, megapixels: float) -> bytes:
    """The photo at that size, in its own proportions, as a JPEG."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    factor = (1e6 * megapixels / (image.width * image.height)) ** 0.5
    size = round(image.width * factor), round(image.height * factor)
    data = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
    return data.getvalue()


def compare(backend: Backend, photos: list[Path], *, megapixels: float) -> dict[str, Any]:
    """Answers for the photos at that size, decoded in full and small."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    answers: dict[bool, list[Any]] = {False: [], True: []}
    levels = []
    for path in photos:
        data, pixels = enlarged(path, megapixels), {}
        for fast in (False, True):
            began = time.thread_time()
            pixels[fast] = load_photo(data, backend.info.config.input, fast=fast).pixels
            seconds[fast].append(time.thread_time() - began)
            answers[fast].append(backend.run(pixels[fast][None])[0])
        levels.append(np.abs(pixels[True].astype(int) - pixels[False]).mean())
    full, small = np.stack(answers[False]), np.stack(answers[True])
    medians = {fast: 1000 * statistics.median(times) for fast, times in seconds.items()}
    return {
        "model": backend.info.path.name,
        "photos": len(photos),
        "megapixels": megapixels,
        "top1_changed": round(float((full.argmax(1) != small.argmax(1)).mean()), 6),
        "max_probability_difference": round(float(np.abs(full - small).max()), 6),
        "mean_pixel_difference": round(float(np.mean(levels)), 4),
        "decode_ms": {"full": round(medians[False], 2), "fast": round(medians[True], 2)},
        "decode_ratio": round(medians[False] / medians[True], 2),
    }


def main() -> None:
    """Read the options, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", type=Path, help="a folder of JPEG photos")
    parser.add_argument("--model", type=Path, help="a model file (the model that ships)")
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--count", type=int, default=50, help="photos at most")
    options = parser.parse_args()
    found = sorted(path for path in options.photos.iterdir() if path.suffix.lower() in ENDINGS)
    if not found:
        parser.error(f"there are no JPEG photos in {options.photos}")
    step = max(1, len(found) // options.count)
    chosen = found[::step][: options.count]
    backend = open_backend(options.model)
    print(to_json(compare(backend, chosen, megapixels=options.megapixels), ascii=True))


if __name__ == "__main__":
    main()
