"""When learning rates are cut."""

from __future__ import annotations

from dataclasses import dataclass

from train.recipe import ScheduleConfig


@dataclass
class Schedule:
    """Follows a run epoch by epoch; its fields are all the state it has.

    [P §5]: the rate was divided by 10 when the validation error stopped improving, three times
    before termination. Here no person has to watch.
    """

    config: ScheduleConfig
    epoch: int = 0
    """Epochs that are over."""
    done_cuts: int = 0
    best: float = float("inf")
    """Lowest validation error so far."""
    since_best: int = 0
    """Epochs since the last improvement or cut."""
    finished: bool = False

    @property
    def factor(self) -> float:
        """What the starting rates are multiplied with in the coming epoch."""
        return self.config.factor**self.done_cuts

    def after_epoch(self, validation_error: float) -> None:
        """Take note of the epoch that ended; `factor` and `finished` hold for the next."""
        self.epoch += 1
        if self.config.kind == "epochs":
            self.done_cuts = sum(cut <= self.epoch + 1 for cut in self.config.cut_at)
            return
        if validation_error < self.best:
            self.best, self.since_best = validation_error, 0
            return
        self.since_best += 1
        if self.since_best >= self.config.patience:
            self.since_best = 0
            if self.done_cuts == self.config.cuts:
                self.finished = True
            else:
                self.done_cuts += 1
