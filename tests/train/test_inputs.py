"""What enters the network in a step: crops, mirrors, colour noise, and the draws of dropout."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from tests.train.runs import ODD, QUIET, config_of, trainer_of
from train.dataset import Dataset
from train.inputs import Inputs
from train.loader import Loader, Minibatch
from train.mesh import Mesh
from train.recipe import NoiseConfig
from train.schedule import Moment
from train.streams import CROPS, INIT, ORDER, random_stream

# Crops


def crops_of(trainer, *, seed=0, epoch=1):
    """All training photos uint8 (48, 64, 64, 3), and what the network gets of them."""
    split = trainer.dataset.split("train")
    photos = split.photos(range(len(split)))
    minibatch = Minibatch(torch.from_numpy(photos), torch.from_numpy(split.labels))
    crops = trainer.inputs.crops(minibatch, torch.Generator().manual_seed(seed), epoch=epoch)
    assert crops.shape == (48, 3, 56, 56)
    return photos, crops.permute(0, 2, 3, 1).numpy().astype(np.float64)


def place_of(crop, photo, mean, *, aligned):
    """Where in its photo a crop was cut, (y, x, mirrored), and the colour that was added to it.

    All 9 x 9 x 2 places are tried: at the right one the crop, less what it should hold, is of one
    colour throughout.
    """
    found = []
    whole = photo.astype(np.float64) - (mean if aligned else 0)
    windows = sliding_window_view(whole, (56, 56), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    for y, x, mirrored in np.ndindex(9, 9, 2):
        expected = windows[y, x, :, ::-1] if mirrored else windows[y, x]
        rest = crop - (expected if aligned else expected - mean[4:60, 4:60])
        if np.ptp(rest[::9, ::9], axis=(0, 1)).max() < 1e-3:
            assert np.ptp(rest, axis=(0, 1)).max() < 1e-3
            found.append(((y, x, mirrored), rest.mean(axis=(0, 1))))
    assert len(found) == 1, "the crop is none of this photo's, or the mean is not its own"
    return found[0]


def places_of(trainer, photos, crops):
    """`place_of` all photos: their places, and their colours (N, 3)."""
    mean = trainer.dataset.mean.astype(np.float64)
    assert mean.std(axis=(0, 1)).min() > 2  # an even mean image would tell nothing
    aligned = trainer.config.input.mean == "aligned"
    both = [
        place_of(crop, photo, mean, aligned=aligned)
        for crop, photo in zip(crops, photos, strict=True)
    ]
    places, colours = zip(*both, strict=True)
    return list(places), np.stack(colours)


@pytest.mark.parametrize("mean", ["aligned", "centred"])
def test_each_photo_gets_a_crop_and_a_mirror_of_its_own(colors, mean):
    trainer = trainer_of(colors, mean=mean, recipe=replace(ODD, noise=QUIET))
    places, added = places_of(trainer, *crops_of(trainer))
    assert len(set(places)) > 35
    ys, xs, mirrored = zip(*places, strict=True)
    assert (min(ys), max(ys), min(xs), max(xs)) == (0, 8, 0, 8)
    assert 12 < sum(mirrored) < 36
    assert np.abs(added).max() < 1e-4
    assert places_of(trainer, *crops_of(trainer, seed=1))[0] != places


@pytest.mark.parametrize("mean", ["aligned", "centred"])
def test_32_consecutive_photos_share_a_crop_where_the_recipe_says_so(colors, mean):
    trainer = trainer_of(colors, mean=mean, recipe=replace(ODD, crops_shared_by=32))
    places, added = places_of(trainer, *crops_of(trainer))
    assert len(set(places[:32])) == len(set(places[32:])) == 1
    assert places[0] != places[-1]
    assert len(np.unique(added.round(3), axis=0)) == 48  # noise is not shared


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("mean", ["aligned", "centred"])
def test_colour_noise_is_added_after_the_mean_and_then_all_is_divided(colors, mean, rescale):
    noise = NoiseConfig(coefficient=0.1, rescale=rescale)
    trainer = trainer_of(colors, mean=mean, recipe=replace(ODD, noise=noise))
    photos, crops = crops_of(trainer)
    _, added = places_of(trainer, photos, crops * 1.1 if rescale else crops)
    # Along the components the shifts are .1 standard deviations times standard normal numbers.
    pca = trainer.dataset.color_pca
    factors = added @ pca.components / (0.1 * pca.stds)
    assert factors.shape == (48, 3)
    assert np.abs(factors.mean(axis=0)).max() < 0.5
    assert factors.std(axis=0) == pytest.approx((1, 1, 1), abs=0.3)
    assert np.abs(np.corrcoef(factors.T) - np.eye(3)).max() < 0.45


def test_without_noise_nothing_is_divided(colors):
    noise = NoiseConfig(coefficient=0.0, rescale=True)
    trainer = trainer_of(colors, recipe=replace(ODD, noise=noise))
    assert np.abs(places_of(trainer, *crops_of(trainer))[1]).max() < 1e-4


def test_noise_and_its_division_end_with_the_epoch_before_the_one_that_is_named(colors):
    noise = NoiseConfig(coefficient=0.1, rescale=True, off_at=3)
    trainer = trainer_of(colors, recipe=replace(ODD, noise=noise))
    photos, crops = crops_of(trainer, epoch=2)
    assert np.abs(places_of(trainer, photos, crops * 1.1)[1]).max() > 1
    assert np.abs(places_of(trainer, *crops_of(trainer, epoch=3))[1]).max() < 1e-4


def test_a_step_s_noise_is_that_of_its_epoch(colors):
    noise = NoiseConfig(rescale=True, off_at=3)
    noisy, quiet = (inputs_of(colors, recipe=replace(ODD, noise=n)) for n in (noise, QUIET))
    minibatch = first_minibatch(colors)
    for epoch, same_crops in ((2, False), (3, True)):
        found, without = (inputs.of(minibatch, Moment(epoch))[0] for inputs in (noisy, quiet))
        assert torch.equal(found, without) == same_crops


def test_where_the_recipe_says_eigenvalues_the_shifts_are_of_squared_deviations(colors):
    noise = NoiseConfig(coefficient=0.001, of="eigenvalues")
    trainer = trainer_of(colors, recipe=replace(ODD, noise=noise))
    _, added = places_of(trainer, *crops_of(trainer))
    pca = trainer.dataset.color_pca
    assert pca.stds.min() > 5  # so that squares are something else
    factors = added @ pca.components / (0.001 * pca.stds**2)
    assert factors.std(axis=0) == pytest.approx((1, 1, 1), abs=0.3)


@pytest.mark.parametrize("channels_last", [True, False])
def test_crops_lie_in_memory_as_the_recipe_says(colors, channels_last):
    trainer = trainer_of(colors, recipe=replace(ODD, channels_last=channels_last))
    crops, _ = trainer.inputs.of(next(trainer.loader.epoch(1)), Moment(1))
    assert crops.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert crops.is_contiguous() != channels_last


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("float32", torch.float32), ("float64", torch.float64), ("bfloat16", torch.float32)],
)
def test_crops_are_of_the_type_of_the_weights(colors, dtype, expected):
    trainer = trainer_of(colors, recipe=replace(ODD, dtype=dtype))
    crops, _ = trainer.inputs.of(next(trainer.loader.epoch(1)), Moment(1))
    assert crops.dtype == expected
    assert {weight.dtype for weight in trainer.network.parameters()} == {expected}


# A step's own streams


def inputs_of(data, *, mesh=None, seed=5, **fields):
    return Inputs(replace(config_of(**fields), seed=seed), Dataset(data), mesh or Mesh())


def first_minibatch(data):
    return next(Loader(Dataset(data).split("train"), batch=20, seed=5).epoch(1))


def part_of(minibatch, start, stop):
    photos, labels = minibatch.photos[start:stop], minibatch.labels[start:stop]
    return Minibatch(photos, labels, first=start, count=len(minibatch.labels))


def same(one, other):
    """Whether crops and both draws are the same."""
    pairs = zip((one[0], *one[1]), (other[0], *other[1]), strict=True)
    return [torch.equal(a, b) for a, b in pairs]


def test_a_step_s_inputs_depend_on_seed_epoch_and_step_alone(colors):
    minibatch, inputs = first_minibatch(colors), inputs_of(colors)
    found = inputs.of(minibatch, Moment(2, 1, 3))
    torch.rand(7)  # a draw of somebody else's
    assert same(found, inputs.of(minibatch, Moment(2, 1, 3))) == [True] * 3
    assert same(found, inputs_of(colors).of(minibatch, Moment(2, 1, 3))) == [True] * 3
    for other in (Moment(2, 2, 3), Moment(3, 1, 3)):
        assert same(found, inputs.of(minibatch, other)) == [False] * 3
    assert same(found, inputs_of(colors, seed=6).of(minibatch, Moment(2, 1, 3))) == [False] * 3


def test_dropout_draws_from_a_stream_of_its_own(colors):
    """Or masks would hang together with offsets and mirrors."""
    _, draws = inputs_of(colors).of(first_minibatch(colors), Moment(2, 1, 3))
    for key in (INIT, ORDER, CROPS):
        other = torch.rand(20, 48, generator=random_stream(5, key, 2, 1))
        assert not torch.equal(draws[0], other)


def test_a_process_gets_its_rows_of_what_is_drawn_for_the_whole_minibatch(colors):
    minibatch, inputs = first_minibatch(colors), inputs_of(colors)
    crops, draws = inputs.of(minibatch, Moment(1))
    for start, stop in ((0, 7), (7, 20), (20, 20)):
        own_crops, own_draws = inputs.of(part_of(minibatch, start, stop), Moment(1))
        assert torch.equal(own_crops, crops[start:stop])
        for own, whole in zip(own_draws, draws, strict=True):
            assert torch.equal(own, whole[start:stop])


def test_photos_share_a_crop_by_their_place_in_the_whole_minibatch(colors):
    minibatch = first_minibatch(colors)
    inputs = inputs_of(colors, recipe=replace(ODD, crops_shared_by=8))
    crops, _ = inputs.of(minibatch, Moment(1))
    own, _ = inputs.of(part_of(minibatch, 5, 20), Moment(1))
    assert torch.equal(own, crops[5:])


@pytest.mark.parametrize(("of", "widths"), [("outputs", (48, 32)), ("inputs", (16 * 36, 48))])
def test_there_is_a_uniform_draw_for_each_value_that_dropout_may_drop(colors, of, widths):
    """48 and 32 hidden units; fc6 reads 16 maps of 6 x 6."""
    _, draws = inputs_of(colors, of=of).of(first_minibatch(colors), Moment(1))
    assert [draw.shape for draw in draws] == [(20, width) for width in widths]
    for draw in draws:
        assert 0 <= draw.min() < 0.05
        assert 0.95 < draw.max() < 1
        assert draw.mean() == pytest.approx(0.5, abs=0.06)
        assert len(draw.unique()) > 0.99 * draw.numel()


@pytest.mark.parametrize("of", ["outputs", "inputs"])
def test_a_column_gets_draws_for_its_own_units_or_for_all_that_it_reads(colors, of):
    minibatch = first_minibatch(colors)
    crops, draws = inputs_of(colors, of=of).of(minibatch, Moment(1))
    for column in (0, 1):
        mesh = Mesh(column=column, columns=2)
        own_crops, own = inputs_of(colors, of=of, mesh=mesh).of(minibatch, Moment(1))
        assert torch.equal(own_crops, crops)
        for mine, whole in zip(own, draws, strict=True):
            half = whole.shape[1] // 2
            part = whole[:, column * half :][:, :half]
            assert torch.equal(mine, whole if of == "inputs" else part)
