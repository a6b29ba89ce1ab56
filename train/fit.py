"""Training in one process: epochs of crops through the network, validated, saved, resumable."""

from __future__ import annotations

import math
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from alexnet.classifier import Classifier
from alexnet.config import Views
from alexnet.console import log, progress
from alexnet.errors import AlexNetError
from alexnet.network import AlexNet
from alexnet.views import Crops
from train.augment import color_shift, draw_crops, rescaled
from train.dataset import Dataset
from train.evaluate import check_input, evaluate
from train.minibatch import CROPS, DROPOUT, INIT, Minibatch, minibatches, random_stream
from train.optimizer import optimizer_for, scale_rates
from train.recipe import RunConfig
from train.run import RunFolder, TrainingState
from train.schedule import Schedule


class TrainingError(AlexNetError):
    """A run that can't go on."""


class Trainer:
    """A network in training, with everything that a step changes."""

    def __init__(self, config: RunConfig, dataset: Dataset):
        self.config = config
        self.dataset = dataset
        recipe = config.recipe
        self.network_config = config.config
        network = AlexNet(self.network_config).initialise(random_stream(config.seed, INIT))
        # Photos come with their channels last; kept so, a step on CPUs takes 0.6 of the time.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean = dataset.mean if config.input.has_mean_image else None
        self.input = Crops(config.input, self.mean)
        self.optimizer = optimizer_for(self.network, recipe)
        self.schedule = Schedule(recipe.schedule)
        self.epoch = 0
        """Epochs that are over."""

    def train_epoch(self) -> dict[str, float]:
        """Every training photo once; the running loss and top-1 error, and photos per second."""
        recipe, split = self.config.recipe, self.dataset.split("train")
        self.network.train()
        scale_rates(self.optimizer, self.schedule.factor)
        epoch, seen, loss_sum, wrong = self.epoch + 1, 0, 0.0, 0
        started = time.perf_counter()
        with progress(f"Epoch {epoch}", total=len(split), unit="photos") as bar:
            stream = minibatches(split, batch=recipe.batch, seed=self.config.seed, epoch=epoch)
            for step, minibatch in enumerate(stream):
                loss, errors = self._step(minibatch, epoch=epoch, step=step)
                count = len(minibatch.labels)
                seen, loss_sum, wrong = seen + count, loss_sum + loss * count, wrong + errors
                bar.advance(count)
                bar.note(f"loss {loss_sum / seen:.3f} error {wrong / seen:.3f}")
        self.epoch = epoch
        seconds = time.perf_counter() - started
        return {
            "train_loss": loss_sum / seen,
            "train_error": wrong / seen,
            "photos_per_second": seen / seconds,
            "seconds": seconds,
        }

    def crops(self, minibatch: Minibatch, generator: torch.Generator) -> Tensor:
        """The network's input for a minibatch: a random crop of each photo, with colour noise."""
        recipe, count = self.config.recipe, len(minibatch.labels)
        draw = draw_crops(
            count, self.config.input, generator=generator, shared_by=recipe.crops_shared_by
        )
        shift = None
        if recipe.noise.coefficient:
            factors = torch.randn(count, 3, generator=generator)
            shift = color_shift(factors, self.dataset.color_pca, recipe.noise)
        crops = self.input.each(
            minibatch.photos, draw.y, draw.x, mirrored=draw.mirrored, shift=shift
        )
        return rescaled(crops, recipe.noise)

    def validate(self, views: Views = "centre") -> dict[str, float]:
        """Loss, top-1 and top-5 error on the validation photos."""
        self.network.eval()
        classifier = Classifier(self.network_config, self.network, self.mean, views=views)

        def run(photos: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.inference_mode():
                probabilities: NDArray[np.float32] = classifier(torch.from_numpy(photos)).numpy()
            return probabilities

        words = "Validating" if views == "centre" else "Validating, ten views"
        # The network gets every view of a minibatch at once.
        batch = max(1, self.config.recipe.batch // len(classifier.views))
        result = evaluate(run, self.dataset.split("val"), batch=batch, description=words)
        return {
            "val_loss": result.loss,
            "val_top1_error": result.top1_error,
            "val_top5_error": result.top5_error,
        }

    def state(self) -> TrainingState:
        """All that is needed to go on from here to the same weights."""
        weights = dict(self.network.state_dict())
        velocities = {
            name: self.optimizer.state[weight]["velocity"]
            for name, weight in self.network.named_parameters()
            if "velocity" in self.optimizer.state[weight]
        }
        schedule = {f.name: getattr(self.schedule, f.name) for f in fields(self.schedule)}
        del schedule["config"]
        return TrainingState(weights, velocities, schedule, self.epoch)

    def restore(self, state: TrainingState) -> None:
        """Go back to a saved state."""
        self.network.load_state_dict(dict(state.weights))
        for name, weight in self.network.named_parameters():
            if name in state.velocities:
                self.optimizer.state[weight]["velocity"] = state.velocities[name]
        self.schedule = Schedule(self.config.recipe.schedule, **state.progress)
        self.epoch = state.epoch

    def _step(self, minibatch: Minibatch, *, epoch: int, step: int) -> tuple[float, int]:
        seed = self.config.seed
        crops = self.crops(minibatch, random_stream(seed, CROPS, epoch, step))
        # Dropout draws from PyTorch's own generator: with a seed per step, each step is repeatable.
        torch.manual_seed(random_stream(seed, DROPOUT, epoch, step).initial_seed())
        logits = self.network(crops)
        loss = F.cross_entropy(logits, minibatch.labels)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"The loss became {loss.item()} in epoch {epoch}, step {step + 1}, at a learning "
                f"rate of {self.optimizer.param_groups[0]['lr']:g}: start again with a lower "
                "recipe.lr. The state after the last whole epoch is kept."
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.item(), int((logits.argmax(1) != minibatch.labels).sum())


def fit(
    config: RunConfig,
    dataset: Dataset,
    out: Path,
    *,
    resume: bool,
    command: str,
    store: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """Train until the schedule or the recipe's epochs end; write `out`/model.safetensors.

    Its weights are stored as `store`. It is measured with one view and with ten before that.

    After every epoch the run's state is saved, so that a killed run continues from there with
    `resume` to the weights that it would have reached.

    Returns:
        The last epoch's metrics, and `ten_views`: loss and errors of the finished network.

    Raises:
        AlexNetError: the data do not fit the config, `out` holds another run, or the loss is no
            longer finite.
    """
    check_input(config.input, dataset, name=f"The preset {config.preset}")
    _check_data(config, dataset)
    folder = RunFolder(out)
    trainer = Trainer(config, dataset)
    if resume and folder.has_state():
        trainer.restore(folder.resume(config, dataset))
        log(f"{out}: continuing after epoch {trainer.epoch}.")
    else:
        folder.start(config, dataset, command=command)
    metrics = folder.last_metrics()
    while trainer.epoch < config.recipe.epochs and not trainer.schedule.finished:
        factor = trainer.schedule.factor
        metrics = {"epoch": trainer.epoch + 1, "lr": config.recipe.lr * factor}
        metrics |= trainer.train_epoch() | trainer.validate()
        trainer.schedule.after_epoch(metrics["val_top1_error"])
        folder.add_metrics(metrics)
        folder.save_state(trainer.state())
        log(
            f"epoch {metrics['epoch']:3d}  lr {metrics['lr']:.2g}  "
            f"train loss {metrics['train_loss']:.4f} error {metrics['train_error']:.4f}  "
            f"val loss {metrics['val_loss']:.4f} top-1 error {metrics['val_top1_error']:.4f} "
            f"top-5 {metrics['val_top5_error']:.4f}  {metrics['photos_per_second']:.0f} photos/s"
        )
    metrics["ten_views"] = trainer.validate("ten")
    folder.save_model(
        trainer.network_config, trainer.network, dataset, metrics=metrics, store=store
    )
    return metrics


def _check_data(config: RunConfig, dataset: Dataset) -> None:
    if not dataset.count("val"):
        raise AlexNetError(
            f"{dataset.path} has no validation photos, and the schedule needs them: prepare it "
            "with --val or a --val-fraction."
        )
    if len(dataset.labels) != config.network.classes:
        raise AlexNetError(
            f"network.classes is {config.network.classes} and {dataset.path} has "
            f"{len(dataset.labels)} classes."
        )
