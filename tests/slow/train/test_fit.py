"""A network learns real digits."""

import json

from tests.train.conftest import run


def test_mini_learns_handwritten_digits_in_three_epochs(digits, tmp_path):
    done = run("fit", "--preset=mini", "--data", digits, "--out", tmp_path / "run", "--epochs=3")
    assert json.loads(done.stdout)["val_top1_error"] < 0.4
