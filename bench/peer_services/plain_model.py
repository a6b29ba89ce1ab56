"""What the plain services share: a session, and a picture fitted to what it reads."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

Answer = list[tuple[int, float]]


class PlainModel:
    """An exported graph in ONNX Runtime."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("PEER_THREADS", "0"))
        path = os.environ["PEER_MODEL"]
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(path, options, providers=providers)
        self.input = self.session.get_inputs()[0]

    def answer(self, images: list[Image.Image]) -> list[Answer]:
        """The five best classes of each picture with their probabilities, best first."""
        photos = np.stack([self._square(image) for image in images])
        (probabilities,) = self.session.run(["probabilities"], {self.input.name: photos})
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
        return [
            [(int(index), float(row[index])) for index in order]
            for row, order in zip(probabilities, best, strict=True)
        ]

    def _square(self, image: Image.Image) -> NDArray[np.uint8]:
        """Shorter side to the graph's, then the central square: uint8 (S, S, 3)."""
        side = self.input.shape[1]
        image = image.convert("RGB")
        short = min(image.size)
        width, height = (int(side * length / short) for length in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - side) // 2, (height - side) // 2
        return np.asarray(image.crop((left, top, left + side, top + side)))
