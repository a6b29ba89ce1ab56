"""A BentoML service with adaptive batching: `...bench.peer_services.bentoml_batching:Batching`."""

import bentoml
from PIL.Image import Image

from bench.peer_services.plain_model import PlainModel


@bentoml.service(name="plain_batching", workers=1)
class Batching:
    """Pictures in, five classes of each out; requests that come together share a call."""

    def __init__(self) -> None:
        self.model = PlainModel()

    # As long as a client waits: with one second most requests for a full-size network get 503.
    @bentoml.api(  # type: ignore[untyped-decorator]
        batchable=True, max_batch_size=8, max_latency_ms=10_000
    )
    def classify(self, image: list[Image]) -> list[list[tuple[int, float]]]:
        """The five best classes of each photo."""
        return self.model.answer(image)
