"""A plain BentoML service: `bentoml serve bench.peer_services.bentoml_service:Plain`."""

import bentoml
from PIL.Image import Image

from bench.peer_services.plain_model import PlainModel


@bentoml.service(name="plain", workers=1)
class Plain:
    """Pictures in, five classes out, one call at a time."""

    def __init__(self) -> None:
        self.model = PlainModel()

    @bentoml.api  # type: ignore[untyped-decorator]
    def classify(self, image: Image) -> list[tuple[int, float]]:
        """The five best classes of one photo."""
        return self.model.answer([image])[0]
