"""Whole runs of a network whose columns are apart learn what one process learns."""

import functools
import shutil
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from alexnet.config import mini
from alexnet.errors import AlexNetError
from alexnet.network import AlexNet
from tests.train.conftest import LIVELY, THIN, lines, newest, on_ranks, run
from tests.train.runs import ODD, config_of
from train.dataset import Dataset
from train.mesh import open_mesh
from train.trainer import Trainer

# Twenty steps of 47 photos and of one: a data-parallel process has no photo in every other step.
STEPS = (
    *THIN,
    *LIVELY,
    "--recipe=net145",
    "--set=recipe.batch=47",
    "--seed=3",
    "--log-every=1",
    "--keep-checkpoints=99",
)


EXACT = (*STEPS, "--dtype=float64")


# Where a sum's last bit decides on a ReLU or a pooled maximum, gradients jump, and at full rate on
# pixels of 0-255 the jump grows a thousandfold in a few steps. Small inputs and a small rate keep
# it small: differences of 6e-8 were seen.
ROUNDED = (
    *STEPS,
    "--dtype=float32",
    "--set=recipe.lr=0.0005",
    "--set=recipe.bias_lr=0.0005",
    "--set=input.std_rgb=[60,60,60]",
    "--set=network.convs.0.init_std=0.15",
)


def fit(colors, out, *options, steps=20, processes=None):
    """The command's run of so many steps; what it printed on stderr."""
    words = ("--data", colors, "--out", out, f"--max-steps={steps}")
    return run("fit", *options, *words, processes=processes).stderr


def apart(first, second):
    """The largest differences of two runs, in losses and in weights and velocities."""
    ours, theirs = (lines(out / "steps.jsonl") for out in (first, second))
    assert [line["step"] for line in ours] == [line["step"] for line in theirs] == [1, 2] * 10
    assert [line["photos"] for line in ours] == [line["photos"] for line in theirs] == [47, 1] * 10
    losses = max(abs(a["loss"] - b["loss"]) for a, b in zip(ours, theirs, strict=True))
    one, two = newest(first), newest(second)
    assert {name: t.shape for name, t in one.items()} == {name: t.shape for name, t in two.items()}
    return losses, max(float((one[name] - two[name]).abs().max()) for name in one)


def moved(out):
    """How far each of a run's weights went from its first checkpoint to its last."""
    begun, ended = load_file(min((out / "checkpoints").iterdir())), newest(out)
    weights = [name for name in ended if name.startswith("weights.")]
    return {name: float((ended[name] - begun[name]).abs().max()) for name in weights}


@pytest.fixture(scope="module")
def alone(colors, tmp_path_factory):
    """One process, float64."""
    out = tmp_path_factory.mktemp("alone") / "run"
    fit(colors, out, *EXACT)
    return out


@pytest.fixture(scope="module")
def columns(colors, tmp_path_factory):
    """The same on two processes with a column each, and what they printed."""
    out = tmp_path_factory.mktemp("columns") / "run"
    return out, fit(colors, out, *EXACT, "--columns=2", processes=2)


def test_two_columns_learn_what_one_process_learns(alone, columns):
    assert min(moved(alone).values()) > 1e-4
    assert max(apart(alone, columns[0])) < 1e-10


@pytest.mark.parametrize(("processes", "spread"), [(2, 1), (4, 2)])
def test_processes_that_share_minibatches_learn_what_one_process_learns(
    alone, colors, tmp_path, processes, spread
):
    fit(colors, tmp_path / "run", *EXACT, f"--columns={spread}", processes=processes)
    assert max(apart(alone, tmp_path / "run")) < 1e-10


def test_in_float32_two_columns_learn_the_same_but_for_rounding(colors, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    fit(colors, one, *ROUNDED)
    fit(colors, two, *ROUNDED, "--columns=2", processes=2)
    assert min(moved(one).values()) > 1e-4
    assert max(apart(one, two)) < 1e-5


def test_a_run_changes_between_one_process_and_two_columns(alone, colors, tmp_path):
    out = tmp_path / "run"
    fit(colors, out, *EXACT, steps=7)
    said = fit(colors, out, *EXACT, "--columns=2", "--resume", steps=13, processes=2)
    assert "continuing after epoch 3 and 1 steps." in said
    said = fit(colors, out, *EXACT, "--resume")
    assert "continuing after epoch 6 and 1 steps." in said
    assert max(apart(alone, out)) < 1e-10


def test_a_checkpoint_of_two_columns_holds_the_whole_network(columns):
    network = AlexNet(thin_mini())
    found = newest(columns[0])
    for name, weight in network.state_dict().items():
        assert found[f"weights.{name}"].shape == found[f"velocities.{name}"].shape == weight.shape
    assert len(found) == 2 * len(network.state_dict())


def thin_mini():
    """The config that THIN makes."""
    base = mini()
    convs = tuple(replace(conv, maps=8) for conv in base.network.convs)
    fc6, fc7 = replace(base.network.fc6, units=16), replace(base.network.fc7, units=16)
    return replace(base, network=replace(base.network, convs=convs, fc6=fc6, fc7=fc7, classes=3))


def test_an_epoch_s_line_names_the_bytes_of_each_exchange_and_their_share_of_the_time(columns):
    # On average a step has 24 photos. Numbers of 8 bytes go forth and gradients come back; the
    # logits of the first column's two classes only go forth.
    expected = {
        "conv3": 2 * 24 * 4 * 13 * 13 * 8,
        "fc6": 2 * 24 * 4 * 6 * 6 * 8,
        "fc7": 2 * 24 * 8 * 8,
        "fc8": 2 * 24 * 8 * 8,
        "logits": 24 * 2 * 8,
    }
    out, said = columns
    line = lines(out / "metrics.jsonl")[0]
    found = {layer: cost["bytes_per_step"] for layer, cost in line["exchanges"].items()}
    assert found == expected
    assert all(cost["ms_per_step"] > 0 for cost in line["exchanges"].values())
    assert 0 < line["exchange_share"] < 1
    printed = next(row for row in said.splitlines() if row.startswith("exchanges of a step"))
    assert "before conv3 259,584 bytes" in printed
    assert "logits 384 bytes" in printed
    assert printed.endswith(f"{line['exchange_share']:.1%} of the step's time")


def test_one_process_exchanges_nothing(alone):
    assert "exchanges" not in lines(alone / "metrics.jsonl")[0]


def damaged(data, folder, photo):
    """A copy of a data set with one validation photo spoilt."""
    shutil.copytree(data, folder)
    (shard,) = folder.glob("val-*.tar")
    jpeg = Dataset(folder).split("val").jpeg(photo)
    held = shard.read_bytes()
    assert held.count(jpeg) == 1
    shard.write_bytes(held.replace(jpeg, bytes(len(jpeg))))
    return folder


def _validated(folders):
    """How validations end in one of two columns, of which the second has copies of the photos."""
    found = {}
    with open_mesh(columns=2) as mesh:
        recipe = replace(ODD, batch=4)  # three minibatches of the twelve photos
        for name, (first, second) in folders.items():
            data = Dataset(second if mesh.column else first)
            trainer = Trainer(config_of(recipe=recipe), data, mesh=mesh)
            for views in ("centre", "ten"):
                try:
                    found[name, views] = trainer.validate(views)["val_loss"]
                except AlexNetError as error:
                    found[name, views] = str(error)
                except SystemExit as end:
                    found[name, views] = f"exit code {end.code}"
    return found


def test_a_photo_that_one_column_can_t_read_ends_the_validation_in_both(colors, tmp_path):
    places = {f"photo {n}": damaged(colors, tmp_path / f"{n}", n) for n in (0, 11)}
    folders = {"whole": (colors, colors)} | {n: (colors, copy) for n, copy in places.items()}
    one, other = on_ranks(2, functools.partial(_validated, folders))
    assert len(one) == len(other) == 2 * 3
    for (name, views), said in one.items():
        if name == "whole":
            assert said == other[name, views] > 0
        else:
            assert said == "exit code 1"
            assert "is damaged: copy or prepare the data again." in other[name, views]


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++ on CPUs")
def test_a_compiled_network_that_two_processes_share_learns_the_same(colors, tmp_path):
    options = (*THIN, *LIVELY, "--recipe=modern", "--dtype=float64", "--log-every=1")
    options = (*options, "--set=recipe.batch=47")  # in every other step a process has no photo
    fit(colors, tmp_path / "plain", *options, "--set=recipe.compiled=false", steps=4)
    fit(colors, tmp_path / "compiled", *options, steps=4, processes=2)
    plain, compiled = (
        [line["loss"] for line in lines(tmp_path / name / "steps.jsonl")]
        for name in ("plain", "compiled")
    )
    assert len(plain) == 4
    assert compiled == pytest.approx(plain, rel=1e-12)
