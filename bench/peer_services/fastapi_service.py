"""A plain FastAPI service: `uvicorn bench.peer_services.fastapi_service:app`."""

from fastapi import FastAPI, UploadFile
from PIL import Image

from bench.peer_services.plain_model import PlainModel

app = FastAPI()
model = PlainModel()


@app.post("/classify")
def classify(image: UploadFile) -> list[tuple[int, float]]:
    """The five best classes of one photo; in a thread of the pool, as FastAPI does with `def`."""
    return model.answer([Image.open(image.file)])[0]
