"""Eight classes of made photos of 48 pixels, and untrained networks that answer all of them."""

import numpy as np
import torch

from alexnet.checkpoint import load_checkpoint, save_checkpoint
from tests.models import tiny
from tests.photos import encode, pattern
from tests.train.folders import make, write
from train.dataset import Dataset
from train.untrained import untrained


def prepared(folder):
    """A prepared data set with a training and three validation photos of each class."""
    files = {
        f"{split}/class{place}/{number}.png": encode(
            pattern(48, 48, seed=100 * place + number + 10 * (split == "val"))
        )
        for split, count in (("train", 1), ("val", 3))
        for place in range(8)
        for number in range(count)
    }
    make(write(folder / "source", files), folder / "data", size=48)
    return folder / "data"


def model(path, data, *, seed, **fields):
    """A checkpoint for the data's classes at `path`."""
    labels = Dataset(data).labels
    save_checkpoint(untrained(tiny(**fields), seed=seed, scaled=True, labels=labels), path)
    return path


def answers(path, photos, views):
    """What the network of a checkpoint says of photos, all at once."""
    with torch.inference_mode():
        classifier = load_checkpoint(path).classifier(views)
        return classifier(torch.from_numpy(photos)).numpy().astype(np.float64)


def probabilities(path, data, views="ten"):
    """The same of the validation photos."""
    split = Dataset(data).split("val")
    return answers(path, split.photos(np.arange(len(split))), views)


def errors(answers, labels):
    """Top-1 error, top-5 error and loss of answers without ties."""
    ranks = [
        list(np.argsort(-row)).index(label) for row, label in zip(answers, labels, strict=True)
    ]
    own = answers[np.arange(len(labels)), labels]
    wrong = [sum(rank >= k for rank in ranks) / len(ranks) for k in (1, 5)]
    return {"top1_error": wrong[0], "top5_error": wrong[1], "loss": -np.log(own).mean()}
