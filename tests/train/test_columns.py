"""A network whose columns are apart is the network in one piece: what it says and how it learns."""

import functools
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from alexnet.config import caffe, mini, net145, one_gpu
from alexnet.errors import AlexNetError
from alexnet.network import AlexNet
from tests.models import tiny, with_tanh
from tests.train.conftest import LIVELY, THIN, lines, newest, on_ranks, run
from tests.train.runs import ODD, config_of
from train.columns import ColumnsError, split
from train.dataset import Dataset
from train.mesh import Mesh, open_mesh
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


# Whole runs


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


# Two columns by hand


def joined_by_hand():
    """In one of two columns: what `join` returns, its gradients, and bytes that were sent."""
    config = replace(tiny(), network=replace(tiny().network, classes=3))
    with open_mesh(columns=2) as mesh:
        exchange = split(AlexNet(config), mesh)
        column, found = mesh.column, {}
        # Before conv3: two photos of 8 maps a column, 1 x 3 positions.
        values = 1000.0 * column + torch.arange(48.0).view(2, 8, 1, 3)
        values.requires_grad_()
        joined = exchange.join("conv3", values)
        slopes = torch.arange(96.0).view(2, 16, 1, 3) * (10.0 if column else 1.0)
        (joined * slopes).sum().backward()
        found["conv3"] = (joined.tolist(), values.grad.tolist())
        # Logits: two classes in the first column and one in the second.
        values = torch.tensor([[[1.0, 2.0], [4.0, 5.0]], [[3.0], [6.0]]][column])
        values.requires_grad_()
        joined = exchange.join("logits", values)
        (joined * torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).sum().backward()
        found["logits"] = (joined.tolist(), values.grad.tolist())
        # A process without photos.
        values = torch.zeros(0, 24, requires_grad=True)
        joined = exchange.join("fc7", values)
        joined.sum().backward()
        found["fc7"] = (tuple(joined.shape), tuple(values.grad.shape))
        found["bytes"] = {layer: cost.bytes for layer, cost in exchange.traffic.items()}
        found["networks"] = {name: _compared(one, mesh) for name, one in _networks().items()}
    return found


def _networks():
    """Small two-column networks, each with something of its own."""
    convs = tuple(replace(conv, maps=16) for conv in net145().network.convs)
    base = tiny()
    fc6, fc7 = replace(base.network.fc6, units=15), replace(base.network.fc7, units=13)
    inputs = replace(base.network.dropout, of="inputs", scaled="in_training")
    return {
        "net145": replace(
            net145(),
            input=replace(net145().input, size=72, crop=64),
            network=replace(_small(net145().network), convs=convs),
        ),
        "odd units": replace(base, network=replace(base.network, fc6=fc6, fc7=fc7, classes=3)),
        "dropout of inputs": replace(base, network=replace(base.network, dropout=inputs)),
        "tanh": with_tanh(base),
    }


def _small(network):
    fc6, fc7 = replace(network.fc6, units=16), replace(network.fc7, units=16)
    return replace(network, fc6=fc6, fc7=fc7, classes=5)


def _compared(config, mesh):
    """How far a column is from the same column of the network in one piece."""
    stream = torch.Generator().manual_seed(1)
    whole = AlexNet(config).double()
    for weight in whole.parameters():  # every layer matters
        with torch.no_grad():
            deviation = (2 / max(1, weight[0].numel())) ** 0.5
            weight.copy_(deviation * torch.randn(weight.shape, generator=stream).double())
    own = AlexNet(config).double()
    own.load_state_dict(whole.state_dict())
    exchange = split(own, mesh)
    side = config.input.crop
    crops = torch.randn(3, 3, side, side, generator=stream).double()
    inputs = config.network.dropout.of == "inputs"
    widths = (whole.fc6.in_features if inputs else whole.fc6.out_features, whole.fc6.out_features)
    widths = widths if inputs else (widths[0], whole.fc7.out_features)
    draws = [torch.rand(3, width, generator=stream).double() for width in widths]
    mine = draws
    if not inputs:  # each column drops its own units
        mine = [draw[:, exchange.parts(name)[mesh.column]] for draw, name in _drawn(draws)]
    answers = []
    for network, numbers in ((whole, draws), (own, mine)):
        logits = network(crops, tuple(numbers))
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2, 1])).backward()
        answers.append(logits.detach())
    slopes = {name: weight.grad for name, weight in whole.named_parameters()}
    assert all(bool(slope.abs().max() > 1e-6) for slope in slopes.values())
    expected = exchange.own(slopes)
    collected = exchange.whole(dict(own.state_dict()))
    return {
        "logits": float((answers[0] - answers[1]).abs().max()),
        "gradients": max(
            float((weight.grad - expected[name]).abs().max())
            for name, weight in own.named_parameters()
        ),
        "numbers": sum(weight.numel() for weight in own.parameters()),
        "of": sum(weight.numel() for weight in whole.parameters()),
        "collected": [
            name
            for name, w in whole.state_dict().items()
            if name in collected and torch.equal(w, collected[name])
        ],
    }


def _drawn(draws):
    return zip(draws, ("fc7", "fc8"), strict=True)  # who reads what the dropouts let through


@pytest.fixture(scope="module")
def by_hand():
    return on_ranks(2, joined_by_hand)


def test_each_column_gets_the_maps_of_both_in_their_order(by_hand):
    photo, other = torch.arange(48.0).view(2, 8, 1, 3)
    expected = torch.stack([torch.cat([part, part + 1000]) for part in (photo, other)])
    assert by_hand[0]["conv3"][0] == by_hand[1]["conv3"][0] == expected.tolist()


def test_a_column_s_gradient_is_the_sum_of_what_all_columns_say_of_it(by_hand):
    slopes = 11 * torch.arange(96.0).view(2, 16, 1, 3)  # one says 1 x, the other 10 x
    assert by_hand[0]["conv3"][1] == slopes[:, :8].tolist()
    assert by_hand[1]["conv3"][1] == slopes[:, 8:].tolist()


def test_logits_are_collected_and_their_gradient_is_not_summed(by_hand):
    first, second = (answers["logits"] for answers in by_hand)
    assert first[0] == second[0] == [[1, 2, 3], [4, 5, 6]]
    assert (first[1], second[1]) == ([[1, 2], [4, 5]], [[3], [6]])


def test_columns_without_photos_exchange_nothing(by_hand):
    assert by_hand[0]["fc7"] == by_hand[1]["fc7"] == ((0, 48), (0, 24))


def test_bytes_are_those_that_a_column_sends(by_hand):
    # conv3: 2 photos, 8 maps, 3 positions, 4 bytes, and as much back. logits: 2 photos.
    maps = 2 * (2 * 8 * 3 * 4)
    assert by_hand[0]["bytes"] == {"conv3": maps, "logits": 2 * 2 * 4, "fc7": 0}
    assert by_hand[1]["bytes"] == {"conv3": maps, "logits": 2 * 1 * 4, "fc7": 0}


@pytest.mark.parametrize("network", ["net145", "odd units", "dropout of inputs", "tanh"])
def test_a_column_computes_its_part_of_logits_and_gradients(by_hand, network):
    for answers in by_hand:
        assert answers["networks"][network]["logits"] < 1e-12
        assert answers["networks"][network]["gradients"] < 1e-12


@pytest.mark.parametrize("network", ["net145", "odd units", "dropout of inputs", "tanh"])
def test_columns_share_the_weights_and_give_them_back_as_they_were(by_hand, network):
    first, second = (answers["networks"][network] for answers in by_hand)
    assert first["numbers"] + second["numbers"] == first["of"]
    assert len(first["collected"]) == 16
    assert second["collected"] == []


# Photos that one column can't read


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


# What can't be spread


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (one_gpu, "has 1 column.*can't be held in 2 processes: use --columns 1.$"),
        (caffe, "conv1 of this network is normalised across its columns.*use --columns 1.$"),
    ],
)
def test_a_network_that_has_no_two_columns_is_refused(config, sentence):
    with torch.device("meta"):
        network = AlexNet(config())
    with pytest.raises(ColumnsError, match=sentence):
        split(network, Mesh(columns=2))


def test_two_columns_are_not_spread_over_three_processes():
    with pytest.raises(ColumnsError, match=r"has 2 column.*use --columns 1 or 2.$"):
        split(AlexNet(tiny()), Mesh(columns=3))


def test_two_columns_without_torchrun_are_a_sentence_that_names_it(colors, tmp_path):
    done = run(
        "fit", *THIN, "--columns=2", "--data", colors, "--out", tmp_path / "run", check=False
    )
    assert done.returncode == 1
    assert "2 columns need 2 processes, or a multiple of that, and there is 1" in done.stderr
    assert "`torchrun --nproc-per-node 2 --no-python alexnet-train " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


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
