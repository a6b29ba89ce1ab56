"""A network in training: what a step does, in one process or in many."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.classifier import Classifier
from alexnet.config import Views
from alexnet.errors import AlexNetError
from alexnet.network import AlexNet
from train.columns import Exchange, split
from train.dataset import Dataset
from train.evaluate import evaluate
from train.inputs import Inputs, precision
from train.kernels import choose_kernels, compiled
from train.loader import Loader, Minibatch
from train.mesh import Mesh
from train.optimizer import optimizer_for, set_rates
from train.readback import Readback
from train.recipe import RunConfig
from train.report import Report, Sums
from train.run import TrainingState
from train.schedule import Moment, Plateau, rates
from train.streams import INIT, random_stream

LARGEST = 1e18
"""Weights beyond this are lost: their squares do not fit float32."""


class TrainingError(AlexNetError):
    """A run that has diverged, in every process; `facts`: its epoch, step and rate."""

    def __init__(self, sentence: str, *, facts: dict[str, Any]):
        super().__init__(sentence)
        self.facts = facts


class Trainer:
    """A network in training, with everything that a step changes.

    The same in every number of processes: minibatches, crops, noise and dropout are drawn for the
    whole minibatch and the whole network, and each process keeps its part.
    """

    def __init__(
        self, config: RunConfig, dataset: Dataset, *, mesh: Mesh | None = None, workers: int = 0
    ):
        self.config, self.dataset, self.mesh = config, dataset, mesh or Mesh()
        recipe, device = config.recipe, self.mesh.device
        self.network_config = config.config
        network = AlexNet(self.network_config).initialise(random_stream(config.seed, INIT))
        self.exchange: Exchange | None = None
        with self.mesh.agreed():  # what fails on one machine must not leave the others in DDP
            if self.mesh.columns > 1:
                self.exchange = split(network, self.mesh)
            choose_kernels(recipe, device)
            self.inputs = Inputs(config, dataset, self.mesh)
            photos, batch = dataset.split("train"), recipe.batch
            self.loader = Loader(
                photos, batch=batch, seed=config.seed, mesh=self.mesh, workers=workers
            )
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.network: AlexNet = network.to(device, precision(recipe)).to(memory_format=layout)  # type: ignore[call-overload]
        self.optimizer = optimizer_for(self.network, recipe)
        self.schedule = Plateau(recipe.schedule)
        self.epoch = 0
        """Epochs that are over."""
        self.done = 0
        """Steps of the epoch that has begun."""
        self.sums = Sums()
        self.stopping = False
        """Whether a process was asked to stop, as all of them have heard."""
        self.stop_asked = False
        self.loader.stop_asked = lambda: self.stop_asked
        # A GPU is given the next step before the last one's loss is waited for.
        self.behind = 1 if device.type == "cuda" else 0
        """Steps whose losses may be on their way while the next one begins."""
        self._model = self._prepared(self.network)
        self._unread: deque[tuple[Report, Readback]] = deque()
        self._reports: list[Report] = []

    @property
    def moment(self) -> Moment:
        """Where the run is."""
        return Moment(self.epoch + 1, self.done, self.loader.steps)

    @property
    def finished(self) -> bool:
        """Whether the recipe's epochs or its schedule are over."""
        return self.epoch >= self.config.recipe.epochs or self.schedule.finished

    def steps(self) -> Iterator[None]:
        """Train on what is left of the epoch, step by step.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        self.network.train()
        last = time.perf_counter()
        for minibatch in self.loader.epoch(self.epoch + 1, first=self.done):
            waited = time.perf_counter() - last
            self.step(minibatch)
            self.done += 1
            self.sums.waited += waited
            self.sums.seconds += time.perf_counter() - last
            yield
            last = time.perf_counter()
        if self.done < self.loader.steps:  # no photos come, and nobody waits for them
            self.stopping = True

    def step(self, minibatch: Minibatch) -> None:
        """Train on a minibatch, wherever it comes from: the epoch does not move on.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        self._unread.append(self._step(minibatch))
        self.settle(behind=self.behind)

    def settle(self, behind: int = 0) -> None:
        """Wait for all steps but the last `behind`, and add up what they found.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        while len(self._unread) > behind:
            report, found = self._unread.popleft()
            loss, wrong, stop = found.numbers()
            self.stopping = self.stopping or stop > 0
            if not math.isfinite(loss):
                raise self._diverged(
                    f"The loss became {loss}", Moment(report.epoch, report.step - 1)
                )
            self.sums.photos += report.photos
            self.sums.loss += loss
            self.sums.wrong += wrong
            self._reports.append(replace(report, loss=loss / report.photos))
        if self.exchange is not None:
            self.exchange.settle()

    def drain(self) -> list[Report]:
        """The steps that were settled since the last call."""
        found, self._reports = self._reports, []
        return found

    def end_epoch(self, validation_error: float | None) -> None:
        """Close the epoch that `steps` went through; the error is None without such photos."""
        self.epoch, self.done, self.sums = self.epoch + 1, 0, Sums()
        if validation_error is not None:
            self.schedule.after_epoch(validation_error)

    def validate(self, views: Views = "centre") -> dict[str, float]:
        """Loss, top-1 and top-5 error on the validation photos, each process its part.

        Nothing where there are no such photos.
        """
        if not self.dataset.count("val"):
            return {}
        self.network.eval()
        classifier = Classifier(self.network_config, self.network, self.inputs.mean, views=views)
        classifier = classifier.to(self.mesh.device, precision(self.config.recipe))

        def run(photos: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.inference_mode(), self._autocast():
                answers: Tensor = classifier(torch.from_numpy(photos).to(self.mesh.device))
            probabilities: NDArray[np.float32] = answers.float().cpu().numpy()
            return probabilities

        words = "Validating" if views == "centre" else "Validating, ten views"
        # The network gets every view of a minibatch at once.
        batch = max(1, self.config.recipe.batch // len(classifier.views))
        result = evaluate(
            run, self.dataset.split("val"), batch=batch, description=words, mesh=self.mesh
        )
        return {
            "val_loss": result.loss,
            "val_top1_error": result.top1_error,
            "val_top5_error": result.top5_error,
        }

    def check(self) -> None:
        """Look whether the weights can be kept, in every process.

        Raises:
            TrainingError: they have diverged, here or in another process.
        """
        self.settle()
        sound = all(bool((w.detach().abs() < LARGEST).all()) for w in self.network.parameters())
        if self.mesh.any(not sound):
            last = Moment(self.epoch + 1, self.done - 1, self.loader.steps)
            raise self._diverged("The weights have diverged", last)

    def hear(self) -> None:
        """Let all processes know whether one of them was asked to stop, outside of steps."""
        self.stopping = self.stopping or self.mesh.any(self.stop_asked)

    def state(self) -> TrainingState:
        """All that is needed to go on from here to the same weights, in any number of processes.

        To be called in every process; all but the first get no weights.
        """
        self.settle()
        weights = dict(self.network.state_dict())
        velocities = {
            name: self.optimizer.state[weight]["velocity"]
            for name, weight in self.network.named_parameters()
            if "velocity" in self.optimizer.state[weight]
        }
        if self.exchange is not None:
            weights, velocities = self.exchange.whole(weights), self.exchange.whole(velocities)
        schedule = {f.name: getattr(self.schedule, f.name) for f in fields(self.schedule)}
        del schedule["config"]
        return TrainingState(
            weights=weights,
            velocities=velocities,
            progress=schedule,
            epoch=self.epoch,
            step=self.done,
            sums=vars(self.sums).copy(),
        )

    def restore(self, state: TrainingState) -> None:
        """Go back to a saved state of the whole network."""
        weights, velocities = dict(state.weights), dict(state.velocities)
        if self.exchange is not None:
            weights, velocities = self.exchange.own(weights), self.exchange.own(velocities)
        self.network.load_state_dict(weights)
        for name, weight in self.network.named_parameters():
            if name in velocities:
                velocity = torch.empty_like(weight).copy_(velocities[name])
                self.optimizer.state[weight]["velocity"] = velocity
        self.schedule = Plateau(self.config.recipe.schedule, **state.progress)
        self.epoch, self.done, self.sums = state.epoch, state.step, Sums(**state.sums)

    def _prepared(self, network: AlexNet) -> nn.Module:
        """The network as steps call it: compiled, and averaging gradients with other processes."""
        model: nn.Module = network
        if self.config.recipe.compiled:
            model = compiled(model)
        if self.mesh.data_size > 1:
            # Gradients are averaged while the backward pass goes on. Looking for unused parameters
            # finds none, but keeps the parameters in the buckets of the first step: a run that was
            # resumed must add in the same order.
            model = nn.parallel.DistributedDataParallel(
                model, process_group=self.mesh.data_group, find_unused_parameters=True
            )
        return model

    def _step(self, minibatch: Minibatch) -> tuple[Report, Readback]:
        recipe, moment = self.config.recipe, self.moment
        rate = rates(recipe, moment, cuts=self.schedule.done_cuts)
        set_rates(self.optimizer, rate)
        inputs = self.inputs.of(minibatch, moment)
        labels = minibatch.labels.to(self.mesh.device, non_blocking=True)
        own = len(labels)
        with self._compiled_or_not(own), self._autocast():
            logits = self._model(*inputs)
        logits = logits.to(precision(recipe))
        if own:
            loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        else:
            loss = logits.sum()  # of nothing: a process without photos has gradients of zero
        # Gradients are averaged over processes, and the loss is a mean over photos.
        self.optimizer.zero_grad()
        share = own * self.mesh.data_size / minibatch.whole
        (loss * share).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        found = torch.zeros(3, dtype=torch.float64, device=self.mesh.device)
        if self.mesh.column == 0:
            found[0] = loss.detach() * own
            found[1] = (logits.detach().argmax(1) != labels).sum()
        found[2] = float(self.stop_asked)
        self.mesh.sum(found)
        report = Report(moment.epoch, moment.step + 1, minibatch.whole, math.nan, rate.weights)
        return report, Readback(found)

    def _diverged(self, what: str, moment: Moment) -> TrainingError:
        rate = rates(self.config.recipe, moment, cuts=self.schedule.done_cuts).weights
        return TrainingError(
            f"{what} in epoch {moment.epoch}, step {moment.step + 1}, at a learning rate of "
            f"{rate:g}: start again with a lower recipe.lr.",
            facts={"epoch": moment.epoch, "step": moment.step + 1, "rate": rate},
        )

    def _compiled_or_not(self, photos: int) -> AbstractContextManager[Any]:
        """Compiled convolutions fail in the backward pass of no photos at all."""
        eager = self.config.recipe.compiled and not photos
        return torch.compiler.set_stance("force_eager") if eager else nullcontext()

    def _autocast(self) -> AbstractContextManager[Any]:
        enabled = self.config.recipe.dtype == "bfloat16"
        return torch.autocast(self.mesh.device.type, torch.bfloat16, enabled=enabled)
