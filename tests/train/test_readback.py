"""A step's loss is asked for in the step, and waited for when the next one is under way."""

from types import SimpleNamespace

import pytest
import torch

from tests.train.runs import train_epoch, trainer_of
from train import trainer as trainer_module
from train.readback import Readback


class Watched(Readback):
    """Notes when numbers are asked for and when they are read."""

    def __init__(self, values, *, log):
        super().__init__(values)
        self.log, self.number = log, sum("asked" in line for line in log) + 1
        log.append(f"asked {self.number}")

    def numbers(self):
        self.log.append(f"read {self.number}")
        return super().numbers()


@pytest.mark.parametrize(
    ("behind", "order"),
    [
        (0, ["asked 1", "read 1", "asked 2", "read 2", "asked 3", "read 3"]),
        (1, ["asked 1", "asked 2", "read 1", "asked 3", "read 2", "read 3"]),
    ],
    ids=["CPU", "GPU"],
)
def test_a_step_is_read_when_so_many_others_are_under_way(colors, monkeypatch, behind, order):
    trainer, log = trainer_of(colors), []
    assert trainer.behind == 0  # there is nothing to gain on a CPU
    undisturbed = train_epoch(trainer_of(colors))
    monkeypatch.setattr(trainer_module, "Readback", lambda values: Watched(values, log=log))
    trainer.behind = behind
    figures = train_epoch(trainer)
    assert log == order
    for name in ("train_loss", "train_error"):
        assert figures[name] == undisturbed[name]


def test_a_tensor_of_the_cpu_is_read_as_it_is():
    assert Readback(torch.tensor([1.5, 2.0])).numbers() == [1.5, 2.0]


def test_what_a_gpu_computes_is_copied_at_once_and_only_the_copy_is_waited_for(monkeypatch):
    # No GPU is at hand: this is the order of CUDA's own calls.
    log = []

    class Pinned:
        def copy_(self, values, *, non_blocking):
            log.append(f"copied, non_blocking={non_blocking}")

        def tolist(self):
            log.append("read")
            return [3.0]

    class Event:
        def record(self):
            log.append("event recorded")

        def synchronize(self):
            log.append("event waited for")

    def empty(shape, *, dtype, pin_memory):
        assert (shape, dtype, pin_memory) == ((3,), torch.float64, True)
        return Pinned()

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    on_gpu = SimpleNamespace(device=torch.device("cuda", 0), shape=(3,), dtype=torch.float64)
    readback = Readback(on_gpu)
    assert log == ["copied, non_blocking=True", "event recorded"]
    assert readback.numbers() == [3.0]
    assert log[2:] == ["event waited for", "read"]
