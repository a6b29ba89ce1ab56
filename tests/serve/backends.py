"""A backend that tests hold by the hand, and photos that it tells apart."""

import threading
from pathlib import Path

import numpy as np

from alexnet.backends import ArtifactInfo
from alexnet.config import preset
from alexnet.labels import Label
from tests.photos import encode, plain

CLASSES = 50


def grey(number):
    """A photo whose first class is that of this number, for `Backend`."""
    return encode(plain((number, number, number), side=64))


class Heard:
    """An observer that keeps what it is told."""

    def __init__(self):
        self.batches, self.queues, self.times = [], [], []

    @property
    def decoded(self):
        """How many photos have left the decoders."""
        return [stage for stage, _ in self.times].count("decode")

    def queue(self, photos):
        self.queues.append(photos)

    def batch(self, photos):
        self.batches.append(photos)

    def spent(self, stage, seconds):
        self.times.append((stage, seconds))


class Backend:
    """Finds class n in a photo of the grey n, surely; n + 1 is the second, and so on.

    With `gate` closed it waits before it answers; what it was given stands in `batches`.
    """

    name = "torch"

    def __init__(self, *, streams=1):
        self.streams = streams
        self.batches = []
        self.failing = False
        self.senseless = None
        """A photo for which it gives no numbers."""
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False
        self.heard = Heard()
        """The observer of whatever runs it."""
        self.info = ArtifactInfo(
            path=Path("model.safetensors"),
            sha256="0" * 64,
            config=preset("mini"),
            labels=tuple(Label(f"n{number:08}", f"thing {number}") for number in range(CLASSES)),
            views="ten",
            has_features=False,
            provenance={},
        )

    @property
    def photos(self):
        """All photos that it was given, by their number."""
        return [photo for batch in self.batches for photo in batch]

    def run(self, photos):
        numbers = photos[:, 0, 0, 0].tolist()
        self.batches.append(numbers)
        self.entered.release()
        assert self.gate.wait(120)
        if self.failing:
            raise RuntimeError("no more memory")
        answers = np.zeros((len(photos), CLASSES), np.float32)
        for row, number in enumerate(numbers):
            for place in range(CLASSES):
                answers[row, (number + place) % CLASSES] = 0.5 ** (place + 1)
            if number == self.senseless:
                answers[row] = np.nan
        return answers

    def close(self):
        self.closed = True
