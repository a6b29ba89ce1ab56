"""The model that the service runs: opened and tried once, then asked by many requests at once.

As a script, `python -m serve.model`, it opens and tries the model of the environment's settings and
exits with 0, or with 1 after a sentence: service.py does so before BentoML starts its workers.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image

from alexnet.backends import open_backend
from alexnet.errors import AlexNetError
from alexnet.machine import versions
from alexnet.predictor import Prediction, Predictor
from alexnet.settings import to_dict
from serve.settings import Settings, read_settings

# Requests that decode or run at once: with two, one decodes while the other's network runs.
_AT_ONCE = 2


class ServedModel:
    """Answers requests from a few threads, so that the event loop stays free."""

    def __init__(self, settings: Settings) -> None:
        """Open the model and let it answer once.

        Raises:
            AlexNetError: it cannot be opened or gives no answer.
        """
        self._backend = open_backend(
            settings.model,
            backend=settings.backend,
            views=settings.views,
            threads=settings.threads,
            device=settings.device,
        )
        self._device = settings.device
        self._predictor = Predictor(self._backend, max_pixels=settings.max_pixels)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="alexnet-serve")
        self.name = self._backend.info.path.stem
        self.views = self._backend.info.views
        first = self._predict([_smallest_photo()], 1)[0]
        if first.error is not None:
            raise first.error
        if not first.scores[0].probability > 0:
            raise AlexNetError(f"{self._backend.info.path} gives no probabilities: take another.")

    async def predict(self, photos: Sequence[bytes], *, top_k: int) -> list[Prediction]:
        """One prediction for each photo, in their order."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._predict, photos, top_k)

    def _predict(self, photos: Sequence[bytes], top_k: int) -> list[Prediction]:
        if len(photos) == 1:
            return [self._predictor.predict_one(photos[0], top_k=top_k)]
        return list(self._predictor.predict(photos, top_k=top_k))

    def describe(self) -> dict[str, Any]:
        """What the model is and where it comes from, as JSON values."""
        info = self._backend.info
        return {
            "name": self.name,
            "preset": info.config.preset,
            "classes": len(info.labels),
            "views": info.views,
            "backend": self._backend.name,
            "device": self._device,
            "sha256": info.sha256,
            "input": to_dict(info.config.input),
            "provenance": dict(info.provenance),
            "versions": versions(
                "bentoml", "pillow", self._backend.name, f"{self._backend.name}-gpu"
            ),
        }

    def classes(self) -> list[dict[str, Any]]:
        """The classes in the order of their index."""
        return [
            {"index": index, "label": label.wnid, "name": label.name}
            for index, label in enumerate(self._backend.info.labels)
        ]

    def close(self) -> None:
        """End what is running, and free the model."""
        self._threads.shutdown(cancel_futures=True)
        self._backend.close()


def _smallest_photo() -> bytes:
    """One grey pixel, which no limit refuses."""
    file = io.BytesIO()
    Image.new("RGB", (1, 1), (128, 128, 128)).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    try:
        ServedModel(read_settings()).close()
    except AlexNetError as error:
        print(error)
        sys.exit(1)
