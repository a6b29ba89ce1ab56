"""Two processes run the experiment."""

import dataclasses

from tests.train.test_relu_vs_tanh import data, whole
from train.experiments import side_by_side
from train.experiments.experiment import carry_out
from train.experiments.relu_vs_tanh import EXPERIMENT


def test_two_processes_come_to_the_same_as_one(whole, data, tmp_path, monkeypatch):
    task, result = whole
    monkeypatch.setattr(side_by_side, "cores", lambda: 2)
    found = carry_out(EXPERIMENT, dataclasses.replace(task, out=tmp_path), command="x")
    assert found["found"] == result["found"]
