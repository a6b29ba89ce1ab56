"""A run in two columns begins with another network's layers."""

import torch

from tests.train.conftest import lines, run
from tests.train.test_init_from import CONVS, SHORT, STILL, drawn, layer, source, weights


def test_under_torchrun_every_column_gets_its_part(source, colors, tmp_path):
    """Two processes with a column each begin with what one process begins with."""
    settings = [word for setting in (*SHORT, *STILL) for word in ("--set", setting)]
    words = ("--init-from", source / "model.safetensors", "--keep", "conv1-conv5", "--seed=2")
    out = tmp_path / "run"
    run(
        *("fit", "--preset=mini", *settings, "--epochs=1", "--columns=2", *words),
        *("--data", colors, "--out", out),
        processes=2,
    )
    theirs, fresh, found = weights(source), drawn(seed=2), weights(out)
    for name, weight in found.items():
        assert torch.equal(weight, (theirs if layer(name) in CONVS else fresh)[name]), name
    assert lines(out / "metrics.jsonl")
