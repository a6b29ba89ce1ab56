"""What a run says of itself: its steps, an epoch's line, and the columns' exchanges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from train.columns import Traffic


@dataclass
class Sums:
    """What has been added up since the epoch began."""

    photos: int = 0
    loss: float = 0.0
    wrong: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    """Seconds of waiting for decoded photos."""

    def figures(self) -> dict[str, float]:
        """The figures of a line in metrics.jsonl."""
        return {
            "train_loss": self.loss / self.photos,
            "train_error": self.wrong / self.photos,
            "photos_per_second": self.photos / self.seconds,
            "seconds": self.seconds,
            "waiting_for_photos": self.waited / self.seconds,
        }

    def words(self) -> str:
        """The running loss, error and speed."""
        loss, error = self.loss / self.photos, self.wrong / self.photos
        return f"loss {loss:.3f} error {error:.3f} {self.photos / self.seconds:,.0f} photos/s"


@dataclass(frozen=True)
class Report:
    """A finished step."""

    epoch: int
    step: int
    """Counted from 1."""
    photos: int
    loss: float
    """Mean over the photos of all processes."""
    lr: float
    """Rate of the weights."""


def epoch_line(metrics: Mapping[str, Any]) -> str:
    """An epoch's figures for people."""
    validation = "no validation photos"
    if "val_loss" in metrics:
        validation = (
            f"val loss {metrics['val_loss']:.4f} top-1 error {metrics['val_top1_error']:.4f} "
            f"top-5 {metrics['val_top5_error']:.4f}"
        )
    return (
        f"epoch {metrics['epoch']:3d}  lr {metrics['lr']:.2g}  "
        f"train loss {metrics['train_loss']:.4f} error {metrics['train_error']:.4f}  "
        f"{validation}  {metrics['photos_per_second']:.0f} photos/s, "
        f"{metrics['waiting_for_photos']:.0%} of it waiting for photos"
    )


def exchange_figures(
    traffic: Mapping[str, Traffic], *, steps: int, seconds: float
) -> dict[str, Any]:
    """What the exchanges moved in each of `steps` steps, and their share of `seconds`.

    Bytes are those that one process sent, forward and backward.
    """
    return {
        "exchanges": {
            layer: {
                "bytes_per_step": round(cost.bytes / steps),
                "ms_per_step": round(1000 * cost.seconds / steps, 3),
            }
            for layer, cost in traffic.items()
        },
        "exchange_share": sum(cost.seconds for cost in traffic.values()) / seconds,
    }


def exchange_line(figures: Mapping[str, Any]) -> str:
    """The same for people."""
    parts = [
        f"{'' if layer == 'logits' else 'before '}{layer} {cost['bytes_per_step']:,} bytes "
        f"{cost['ms_per_step']:.2f} ms"
        for layer, cost in figures["exchanges"].items()
    ]
    share = figures["exchange_share"]
    return f"exchanges of a step: {', '.join(parts)}; {share:.1%} of the step's time"
