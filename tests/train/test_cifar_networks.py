"""The small networks are cuda-convnet's, and train as it trained them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.train.small_photos import TRAIN, prepared
from train.dataset import Dataset
from train.experiments.cifar_networks import AcrossMaps, Local, network
from train.experiments.cifar_photos import Photos, Splits, minibatches
from train.experiments.cifar_testing import CENTRE, NINE, TEN, errors
from train.experiments.cifar_training import Step, Training, advance, load, network_of


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("small"))


@pytest.fixture
def coordinates(data):
    """Photos whose first channel is the row, the second the column, and the third the photo."""
    photos = Photos(Dataset(data), "train")
    across = torch.arange(32, dtype=torch.uint8)
    photos.pixels[..., 0] = across[:, None]
    photos.pixels[..., 1] = across
    photos.pixels[..., 2] = (torch.arange(TRAIN) % 256).to(torch.uint8)[:, None, None]
    photos.mean.zero_()
    return photos


def step_of(training, **fields):
    return Step(
        name="x", training=training, **{"rate": 0.01, "bias_rate": 0.02, "after": 0, **fields}
    )


# Networks


@pytest.mark.parametrize(
    ("net", "weights"),
    [
        # conv 5x5: 3 -> 32 -> 32 -> 64; 4 x 4 x 64 values reach the output layer
        ("a", 2400 + 32 + 25600 + 32 + 51200 + 64 + 10240 + 10),
        # conv 5x5: 3 -> 64 -> 64; at each of 8 x 8 places 3x3: 64 -> 32 -> 32 and as many biases
        ("b", 4800 + 64 + 102400 + 64 + 64 * (18432 + 32 + 9216 + 32) + 20480 + 10),
        ("b-norm", 4800 + 64 + 102400 + 64 + 64 * (36864 + 64 + 18432 + 32) + 20480 + 10),
    ],
)
def test_networks_have_the_layer_files_weights(net, weights):
    made = network(net)
    assert sum(parameter.numel() for parameter in made.parameters()) == weights
    assert made(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_the_papers_candidates_have_the_parameters_that_were_counted_for_them():
    counts = [sum(weight.numel() for weight in network(net).parameters()) for net in ("a", "b")]
    assert counts == [89_578, 1_901_386]


@pytest.mark.parametrize("layer", ["pool2", "pool3"])
def test_an_average_divides_by_the_part_of_its_window_that_lies_inside(layer):
    pooled = network("a").get_submodule(layer)(torch.ones(1, 1, 8, 8))
    assert pooled.shape == (1, 1, 4, 4)
    assert torch.equal(pooled, torch.ones(1, 1, 4, 4))


def test_a_nonlinearity_comes_after_the_max_and_before_the_averages():
    order = [name for name, _ in network("a").named_children()]
    assert order[:8] == ["conv1", "pool1", "act1", "conv2", "act2", "pool2", "conv3", "act3"]


def test_the_norms_stand_after_the_first_pool_and_before_the_second():
    order = [name for name, _ in network("b-norm").named_children()]
    assert order[:8] == ["conv1", "act1", "pool1", "norm1", "conv2", "act2", "norm2", "pool2"]
    assert network("b-norm").local3.bias.shape == (64, 8, 8)
    assert network("b").local3.bias.shape == (32, 8, 8)


def test_a_local_layer_has_weights_of_its_own_at_every_place():
    layer = Local(2, 3, 4)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    maps = torch.randn(2, 2, 4, 4)
    found = layer(maps).detach().numpy()
    padded = np.pad(maps.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    weights = layer.weight.detach().numpy().reshape(4, 4, 2, 3, 3, 3)  # row, column, in, 3x3, out
    for row in range(4):
        for column in range(4):
            window = padded[:, :, row : row + 3, column : column + 3]
            answer = np.einsum("nikl,iklo->no", window, weights[row, column])
            answer += layer.bias.detach().numpy()[:, row, column]
            np.testing.assert_allclose(found[:, :, row, column], answer, rtol=1e-4, atol=1e-5)


def test_response_norm_divides_the_scale_by_the_window():
    maps = 100 * torch.rand(1, 12, 2, 2, dtype=torch.float64)
    squares = maps.numpy() ** 2
    sums = np.stack(
        [squares[:, max(0, i - 4) : i + 5].sum(1) for i in range(12)], axis=1
    )  # nine maps, fewer at the ends
    expected = maps.numpy() / (1 + 0.001 / 9 * sums) ** 0.75
    np.testing.assert_allclose(AcrossMaps()(maps).numpy(), expected, rtol=1e-9)


def test_both_nonlinearities_begin_with_the_same_weights():
    relu, tanh = (network("a", nonlinearity=kind, seed=4) for kind in ("relu", "tanh"))
    assert any(isinstance(layer, torch.nn.Tanh) for layer in tanh)
    for one, other in zip(relu.parameters(), tanh.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(relu.conv2.weight, network("a", seed=5).conv2.weight)


def test_another_first_deviation_scales_the_first_layer_alone():
    small, large = (network("a", first_std=std) for std in (1e-4, 1e-2))
    torch.testing.assert_close(large.conv1.weight, 100 * small.conv1.weight)
    assert torch.equal(small.conv2.weight, large.conv2.weight)


def test_first_weights_have_the_layer_files_deviations_and_biases_are_zero():
    made = network("b")
    for name, std in {"conv1": 1e-4, "conv2": 0.01, "local3": 0.04, "fc10": 0.01}.items():
        layer = made.get_submodule(name)
        assert float(layer.weight.detach().std()) == pytest.approx(std, rel=0.05)
        assert not layer.bias.any()


# Photos


def test_an_epoch_of_cifar_has_395_minibatches_and_each_file_ends_in_one_of_16():
    sizes = [part.stop - part.start for part in minibatches(50_000)]
    assert len(sizes) == 395
    assert sizes[:79] == [128] * 78 + [16]
    assert sizes.count(16) == 5


def test_every_epoch_has_all_photos_in_the_same_order_less_the_mean(data):
    dataset = Dataset(data)
    photos = Photos(dataset, "train")
    first, second = (torch.cat([batch for batch, _ in photos.whole()]) for _ in range(2))
    assert torch.equal(first, second)
    split = dataset.split("train")
    expected = split.photos(np.arange(TRAIN)).astype(np.float32) - dataset.mean
    given = first.permute(0, 2, 3, 1).numpy()
    assert not np.array_equal(given, expected)  # mixed once
    keys = [sorted(map(bytes, values.reshape(TRAIN, -1))) for values in (given, expected)]
    assert keys[0] == keys[1]


def test_crops_lie_anywhere_and_half_of_them_are_mirrored(coordinates):
    found = torch.cat([batch for batch, _ in coordinates.crops(24, files=None, seed=(0, 1))])
    tops, lefts, turns = set(), set(), 0
    across = torch.arange(24.0)
    for number, (rows, columns, own) in enumerate(found):
        top, left = int(rows.min()), int(columns.min())
        mirrored = bool(columns[0, 0] > columns[0, -1])
        line = across.flip(0) if mirrored else across
        assert torch.equal(rows, (top + across)[:, None].expand(24, 24))
        assert torch.equal(columns, (left + line).expand(24, 24))
        assert bool((own == number % 256).all())
        tops.add(top)
        lefts.add(left)
        turns += mirrored
    assert tops == lefts == set(range(9))
    assert 0.4 < turns / TRAIN < 0.6


def test_crops_follow_from_their_seed(coordinates):
    def crops(*seed):
        return torch.cat([batch for batch, _ in coordinates.crops(24, files=1, seed=seed)])

    assert torch.equal(crops(0, 1), crops(0, 1))
    assert not torch.equal(crops(0, 1), crops(0, 2))


def test_views_are_averaged_before_the_best_class_is_taken(data):
    photos = Photos(Dataset(data), "val")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 24 * 24, 3))
    torch.nn.init.normal_(net[1].weight, std=0.002)
    found = errors(net, photos, side=24, views={"one": CENTRE, "nine": NINE, "ten": TEN})
    weights, biases = (value.detach().double().numpy() for value in net[1].parameters())
    mean = photos.mean[4:28, 4:28].double().numpy()
    corners = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)]
    places = {
        "one": [(4, 4, 1)],
        "nine": [(top, left, 1) for top in (0, 4, 8) for left in (0, 4, 8)],
        "ten": [(top, left, turn) for top, left in corners for turn in (1, -1)],
    }
    for name, chosen in places.items():
        wrong = 0
        for pixels, label in zip(photos.pixels.numpy(), photos.labels.numpy(), strict=True):
            total = 0
            for top, left, turn in chosen:
                crop = pixels[top : top + 24, left : left + 24][:, ::turn] - mean
                scores = weights @ crop.transpose(2, 0, 1).reshape(-1) + biases
                shifted = np.exp(scores - scores.max())
                total = total + shifted / shifted.sum()
            wrong += total.argmax() != label
        assert found[name] == pytest.approx(wrong / len(photos.labels)), name
    assert len(set(found.values())) > 1


# Training


def test_biases_learn_twice_as_fast_and_only_named_weights_decay(data, tmp_path):
    splits = Splits(Dataset(data))
    photos = splits.train
    photos.pixels, photos.labels = photos.pixels[:100], photos.labels[:100]  # one minibatch
    training = Training(net="a", decays={"fc10": 0.5})
    before, after = network_of(training, photos), network_of(training, photos)
    ((batch, labels),) = photos.whole()
    loss = F.cross_entropy(before(batch), labels)
    loss.backward()
    (epoch,) = advance(tmp_path / "x.safetensors", step_of(training), splits)
    load(tmp_path / "x.safetensors", after)
    assert epoch.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    assert epoch.error == float((before(batch).argmax(1) != labels).double().mean())
    for name, old in before.named_parameters():
        rate = 0.01 if name.endswith("weight") else 0.02
        decay = 0.5 * old if name == "fc10.weight" else 0
        new = (old - rate * (old.grad + decay)).detach()
        torch.testing.assert_close(after.get_parameter(name).detach(), new, rtol=1e-5, atol=1e-8)


def test_momentum_outlives_the_file_between_two_epochs(data, tmp_path):
    splits = Splits(Dataset(data))
    training = Training(net="a", nonlinearity="tanh", first_std=0.01)
    path = tmp_path / "x.safetensors"
    for number in (1, 2):
        assert len(advance(path, step_of(training, after=number - 1), splits)) == number
    net = network_of(training, splits.train)
    optimizer = torch.optim.SGD(
        [
            {"params": [value], "lr": 0.01 if name.endswith("weight") else 0.02}
            for name, value in net.named_parameters()
        ],
        momentum=0.9,
    )
    for _ in range(2):
        for batch, labels in splits.train.whole():
            optimizer.zero_grad()
            F.cross_entropy(net(batch), labels).backward()
            optimizer.step()
    kept = network_of(training, splits.train)
    load(path, kept)
    for name, expected in net.named_parameters():
        torch.testing.assert_close(kept.get_parameter(name), expected, rtol=1e-3, atol=1e-5)


def test_a_training_is_not_gone_on_with_as_another(data, tmp_path):
    splits = Splits(Dataset(data))
    path = tmp_path / "x.safetensors"
    advance(path, step_of(Training(net="a")), splits)
    with pytest.raises(ValueError, match="another training"):
        advance(path, step_of(Training(net="a", seed=1)), splits)


def test_a_training_that_diverged_says_so(data, tmp_path):
    step = step_of(Training(net="a", first_std=1.0), rate=1e30)
    (epoch,) = advance(tmp_path / "x.safetensors", step, Splits(Dataset(data)))
    assert epoch.loss is None


def test_an_epoch_that_another_process_has_trained_meanwhile_is_not_trained_again(data, tmp_path):
    splits, path = Splits(Dataset(data)), tmp_path / "x.safetensors"
    first = advance(path, step_of(Training(net="a")), splits)
    kept = path.read_bytes()
    assert advance(path, step_of(Training(net="a")), splits) == first
    assert path.read_bytes() == kept
