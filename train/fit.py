"""A whole run: epochs, validation, checkpoints, and what is said and written of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from alexnet.console import Progress, log, progress
from alexnet.errors import AlexNetError
from train.board import Board
from train.dataset import Dataset
from train.ending import sigterm_heard
from train.evaluate import check_classes, check_input, check_same_photos
from train.init_from import InitFrom, Kept, check_same, read_kept, take
from train.mesh import Mesh
from train.recipe import RunConfig
from train.report import epoch_line, exchange_figures, exchange_line
from train.restarts import Restarts
from train.run import RunFolder, TrainingState
from train.schedule import rates
from train.trainer import Trainer, TrainingError


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a run is carried out; nothing here changes what a step does."""

    command: str = ""
    resume: bool = False
    epochs_asked: bool = False
    """Whether a run that goes on may get another length, the config's."""
    restarted: bool = False
    """Whether torchrun has started the processes again: a run that is its own goes on by itself."""
    max_steps: int | None = None
    """The run ends after so many steps in all, in the middle of an epoch if need be."""
    store: torch.dtype = torch.float32
    """How the finished model's weights are stored."""
    workers: int = 0
    """Processes that decode photos for each training process; 0: a thread does."""
    checkpoint_every: int = 1000
    """Steps between checkpoints within an epoch; every epoch ends with one, too."""
    keep: int = 3
    """Checkpoints that are kept."""
    log_every: int = 50
    """Steps between lines of steps.jsonl."""
    tensorboard: bool = False
    init_from: InitFrom | None = None
    """Layers of a trained network that a new run begins with; a run that goes on has them."""
    deadline: float | None = None
    """`time.monotonic()` from which the run stops after a step, as SIGTERM makes it."""

    @property
    def late(self) -> bool:
        """Whether the deadline is past."""
        return self.deadline is not None and time.monotonic() >= self.deadline


def fit(
    config: RunConfig,
    dataset: Dataset,
    out: Path,
    *,
    options: FitOptions,
    mesh: Mesh | None = None,
) -> dict[str, Any]:
    """Train until the schedule, the recipe's epochs or `max_steps` end; write the model.

    The finished network is measured with one view and with ten, where there are validation photos,
    and written to `out`/model.safetensors. A run that was killed or stopped continues with `resume`
    to the weights that it would have reached. SIGTERM ends it after the step, or the validation,
    that is under way. A run that diverged goes on with `resume` alone, not in a restart.

    Returns:
        The last epoch's metrics, and `ten_views`: loss and errors of the finished network, nothing
        where there are no validation photos. Of a run that SIGTERM or its deadline ended: `stopped`
        and the checkpoint from which it will go on.

    Raises:
        AlexNetError: the data do not fit the config, `out` holds another run, a process was lost,
            or the loss is no longer finite.
    """
    run = _Run(config, dataset, out, options=options, mesh=mesh or Mesh())
    try:
        return run.go()
    except TrainingError as error:
        with run.mesh.agreed():  # where others end, torchrun ends the first one, too
            if run.mesh.first:
                run.restarts.note_divergence(error.facts)
        if not run.mesh.first:
            raise SystemExit(1) from error
        raise TrainingError(f"{error} {run.last_good()}", facts=error.facts) from error


class _Run:
    def __init__(
        self, config: RunConfig, dataset: Dataset, out: Path, *, options: FitOptions, mesh: Mesh
    ):
        self.config, self.dataset, self.options, self.mesh = config, dataset, options, mesh
        self.folder, self.restarts = RunFolder(out, keep=options.keep), Restarts(out)
        self.board: Board | None = None
        with mesh.agreed():
            if options.tensorboard:
                Board.check()
            check_input(config.input, dataset, name=f"The preset {config.preset}")
            check_classes(config.network, dataset)
            _check_data(dataset, config)
        check_same_photos(dataset, mesh)
        self.trainer = Trainer(config, dataset, mesh=mesh, workers=options.workers)
        state = kept = None
        with mesh.agreed():
            if mesh.first:
                state, kept = self._begin()
        self._restore(state)
        if options.init_from is not None and take(self.trainer, kept):
            self._save(for_now=True)  # from here on the file may go
        with mesh.agreed():
            if mesh.first and options.tensorboard:
                self.board = Board(out, step=self._steps_done)

    def go(self) -> dict[str, Any]:
        """Train, measure, write."""
        trainer, metrics = self.trainer, self.folder.last_metrics()
        with sigterm_heard(trainer):
            while not (trainer.finished or self._enough or trainer.stopping):
                metrics = self._epoch()
            if trainer.done and not trainer.stopping and "steps" not in metrics:
                metrics = self._end_epoch(self._figures())  # it had ended here before
            if not trainer.stopping:
                metrics["ten_views"] = trainer.validate("ten")
                trainer.hear()
            if trainer.stopping:
                reason = "deadline" if self.options.late else "SIGTERM"
                return {"stopped": reason, "checkpoint": str(self._save())}
            self._write_model(metrics)  # from here on it ends sooner than it could stop
        if self.board is not None:
            self.board.close()
        return metrics

    def _write_model(self, metrics: dict[str, Any]) -> None:
        trainer, state = self.trainer, self.trainer.state()
        with self.mesh.agreed():
            if self.mesh.first:
                self.folder.save_model(
                    trainer.network_config,
                    state.weights,
                    self.dataset,
                    metrics=metrics,
                    store=self.options.store,
                )

    def last_good(self) -> str:
        """The sentence that names the newest checkpoint."""
        found = self.folder.checkpoints()
        return f"The last good checkpoint is {found[0]}." if found else "No checkpoint was written."

    @property
    def _steps_done(self) -> int:
        return self.trainer.epoch * self.trainer.loader.steps + self.trainer.done

    @property
    def _enough(self) -> bool:
        """Whether --max-steps are done."""
        return self.options.max_steps is not None and self._steps_done >= self.options.max_steps

    @property
    def _lr(self) -> float:
        """The weights' rate of the first step of the epoch that has begun."""
        trainer = self.trainer
        first, cuts = replace(trainer.moment, step=0), trainer.schedule.done_cuts
        return rates(self.config.recipe, first, cuts=cuts).weights

    def _figures(self) -> dict[str, Any]:
        """What the epoch that has begun came to so far."""
        return {"epoch": self.trainer.epoch + 1, "lr": self._lr} | self.trainer.sums.figures()

    def _epoch(self) -> dict[str, Any]:
        """Train on what is left of an epoch and, unless the run is to stop, validate and save."""
        trainer, steps = self.trainer, self.trainer.loader.steps
        begun, seconds = trainer.done, trainer.sums.seconds
        if trainer.exchange is not None:
            trainer.exchange.traffic.clear()
        words = f"Epoch {trainer.epoch + 1}"
        with progress(words, total=steps, unit="steps", shown=self.mesh.first) as bar:
            bar.advance(begun)
            for _ in trainer.steps():
                self._note(bar)
                trainer.stop_asked = trainer.stop_asked or self.options.late
                if trainer.stopping or self._enough:
                    break
                if trainer.done % self.options.checkpoint_every == 0 and trainer.done < steps:
                    self._save()
        trainer.settle()
        self._note(bar)
        if trainer.stopping:
            return {}
        metrics = self._figures()
        if trainer.exchange is not None and trainer.done > begun:
            metrics |= exchange_figures(
                trainer.exchange.traffic,
                steps=trainer.done - begun,
                seconds=trainer.sums.seconds - seconds,
            )
        return self._end_epoch(metrics)

    def _end_epoch(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Validate; note and save the epoch, or the part of it before --max-steps."""
        trainer = self.trainer
        self._save(for_now=True)  # a scheduler may not wait for what is measured next
        metrics |= trainer.validate()
        if trainer.done == trainer.loader.steps:
            trainer.end_epoch(metrics.get("val_top1_error"))
        else:
            metrics["steps"] = trainer.done
        with self.mesh.agreed():
            if self.mesh.first:
                self.folder.add_metrics(metrics)
        if self.mesh.first:
            log(epoch_line(metrics))
            if "exchanges" in metrics:
                log(exchange_line(metrics))
        if self.board is not None:
            self.board.add(metrics, step=self._steps_done)
        self._save()
        trainer.hear()
        return metrics

    def _note(self, bar: Progress) -> None:
        """Show and write the steps whose losses are known by now."""
        trainer = self.trainer
        for report in trainer.drain():
            bar.advance(1)
            bar.note(trainer.sums.words())
            number = (report.epoch - 1) * trainer.loader.steps + report.step
            if self.mesh.first and number % self.options.log_every == 0:
                self.folder.add_step(vars(report))
                if self.board is not None:
                    self.board.add({"loss": report.loss, "lr": report.lr}, step=number)

    def _save(self, *, for_now: bool = False) -> Path | None:
        """Write a checkpoint; its path in the first process."""
        self.trainer.check()
        state, path = self.trainer.state(), None
        with self.mesh.agreed():
            if self.mesh.first:
                path = self.folder.save_state(state, for_now=for_now)
        return path

    def _begin(self) -> tuple[TrainingState | None, Kept | None]:
        """Start the run's folder, or read where it stopped; layers that a new run begins with."""
        init = self.options.init_from
        by_itself = self.options.restarted and self.restarts.own
        if by_itself:  # also where the command has --resume: that was meant for its first start
            self.restarts.check()
        if (self.options.resume or by_itself) and self.folder.checkpoints():
            command = self.options.command if self.options.epochs_asked else None
            state = self.folder.resume(self.config, self.dataset, command=command)
            if init is not None:
                check_same(init, self.folder.origin().get("init_from"), self.folder.path)
            self.restarts.take()
            steps = f" and {state.step} steps" if state.step else ""
            log(f"{self.folder.path}: continuing after epoch {state.epoch}{steps}.")
            return state, None
        kept = None
        if init is not None:
            kept = read_kept(init, self.config.config, self.dataset.labels)
        origin = {} if kept is None else {"init_from": kept.facts}
        self.folder.start(self.config, self.dataset, command=self.options.command, **origin)
        self.restarts.take()
        return None, kept

    def _restore(self, state: TrainingState | None) -> None:
        """Give every process the state that the first one read."""
        facts = None if state is None else state.facts()
        facts = self.mesh.from_first(facts)
        if facts is None:
            return
        tensors = self.mesh.tensors_from_first({} if state is None else state.tensors())
        self.trainer.restore(TrainingState.of(tensors, facts))


def _check_data(dataset: Dataset, config: RunConfig) -> None:
    if config.recipe.schedule.kind == "plateau" and not dataset.count("val"):
        raise AlexNetError(
            f"{dataset.path} has no validation photos, and the schedule `plateau` follows their "
            "error: prepare it with --val or a --val-fraction, or take a schedule that follows the "
            "epochs, such as --set recipe.schedule.kind=cosine."
        )
