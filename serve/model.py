"""The model that the service runs: opened and tried once, then described to whoever asks."""

from __future__ import annotations

import functools
import io
from typing import Any

from PIL import Image

from alexnet.backends import open_backend, warm_up
from alexnet.console import log
from alexnet.container import FORMATS
from alexnet.errors import AlexNetError
from alexnet.machine import versions
from alexnet.predictor import Predictor
from alexnet.settings import to_dict
from serve.settings import Settings, shown
from serve.views_answer import can_tell_views


class ServedModel:
    """An open backend that has answered once, and what there is to say of it."""

    def __init__(self, settings: Settings) -> None:
        """Open the model and let it answer once.

        Raises:
            AlexNetError: it cannot be opened or gives no answer.
        """
        self.backend = open_backend(
            settings.model,
            backend=settings.backend,
            views=settings.views,
            threads=settings.threads,
            device=settings.device,
            mode=settings.mode,
            explain=log,
        )
        warm_up(self.backend, batches=(1, settings.batch))
        self._settings = settings
        self.name = self.backend.info.path.stem
        self.views = self.backend.info.views
        first = Predictor(self.backend).predict_one(smallest_photo(), top_k=1)
        if first.error is not None:
            raise first.error
        if not first.scores[0].probability > 0:
            raise AlexNetError(f"{self.backend.info.path} gives no probabilities: take another.")

    def describe(self) -> dict[str, Any]:
        """What the model is and where it comes from, as JSON values."""
        info, settings = self.backend.info, self._settings
        return {
            "name": self.name,
            "preset": info.config.preset,
            "classes": len(info.labels),
            "views": info.views,
            "each_view": can_tell_views(self.backend),
            "backend": self.backend.name,
            "device": settings.device,
            "sha256": info.sha256,
            "input": to_dict(info.config.input),
            "provenance": dict(info.provenance),
            "batching": {
                "photos": settings.batch,
                "wait_ms": 1000 * settings.wait,
                "streams": self.backend.streams,
            },
            "doors": {
                "key_needed": settings.keys is not None,
                "metrics": settings.metrics,
                "cors_origins": list(settings.cors_origins or ()),
                "hosts": list(settings.hosts or ()),
            },
            "limits": {
                "body_bytes": settings.max_body,
                "pixels": settings.max_pixels,
                "photos": settings.max_photos,
                "requests": settings.max_requests,
                "seconds": settings.timeout,
                "formats": list(FORMATS),
                "upload_bytes": settings.max_uploads,
                "upload_seconds": settings.upload_timeout,
                "queue_photos": settings.queue,
            },
            "settings": shown(settings),
            "versions": versions(
                "bentoml", "pillow", self.backend.name, f"{self.backend.name}-gpu"
            ),
        }

    def classes(self) -> list[dict[str, Any]]:
        """The classes in the order of their index."""
        return [
            {"index": index, "label": label.wnid, "name": label.name}
            for index, label in enumerate(self.backend.info.labels)
        ]

    def close(self) -> None:
        """Free the model."""
        self.backend.close()


@functools.cache
def smallest_photo() -> bytes:
    """One grey pixel, which no limit refuses."""
    file = io.BytesIO()
    Image.new("RGB", (1, 1), (128, 128, 128)).save(file, "PNG")
    return file.getvalue()
