"""What torchrun's restarts (--max-restarts) go on with, and what they leave alone."""

import pytest

from train.restarts import Restarts
from train.run import RunError


def as_of(monkeypatch, launch, count=0):
    """This process as one of a launch of torchrun's."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", launch)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(count))


def test_a_run_belongs_to_the_launch_that_began_it_or_went_on_with_it_last(tmp_path, monkeypatch):
    tmp_path.joinpath("run").mkdir()
    restarts = Restarts(tmp_path / "run")
    as_of(monkeypatch, "a")
    assert not restarts.own
    restarts.take()
    assert restarts.own
    as_of(monkeypatch, "b")
    assert not restarts.own
    restarts.take()
    assert restarts.own
    as_of(monkeypatch, "a")
    assert not restarts.own


def test_a_run_without_torchrun_belongs_to_no_launch(tmp_path, monkeypatch):
    restarts = Restarts(tmp_path)
    as_of(monkeypatch, "a")
    restarts.take()
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    restarts.take()
    assert not restarts.own
    as_of(monkeypatch, "a")
    assert not restarts.own


@pytest.mark.parametrize("note", ["", "[]", '{"rdzv_id"'])
def test_a_note_that_can_t_be_read_is_none(tmp_path, monkeypatch, note):
    as_of(monkeypatch, "a")
    (tmp_path / "launch.json").write_text(note)
    assert not Restarts(tmp_path).own


def test_who_takes_a_run_that_diverged_may_go_on(tmp_path):
    restarts = Restarts(tmp_path)
    restarts.check()
    restarts.note_divergence({"epoch": 3, "step": 7, "rate": 2})
    with pytest.raises(RunError, match="in epoch 3, step 7, at a learning rate of 2, and would"):
        restarts.check()
    restarts.take()
    restarts.check()
