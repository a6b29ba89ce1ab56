"""Crops and the mean, in the conventions of 2012 and of Caffe."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from alexnet.config import caffe, mini, net145, paper, torchvision
from alexnet.errors import AlexNetError
from alexnet.views import Crops, View, views_of


def coordinate_photo(side):
    """A photo in which no two pixels are the same: red is the row, green is the column."""
    photo = np.zeros((1, side, side, 3), np.uint8)
    photo[0, :, :, 0] = np.arange(side)[:, None]
    photo[0, :, :, 1] = np.arange(side)[None, :]
    return torch.from_numpy(photo)


def without_mean(config):
    return Crops(config.input, np.zeros((config.input.size, config.input.size, 3), np.float32))


@pytest.mark.parametrize(
    ("config", "offsets"),
    [
        (paper(), [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)]),
        (caffe(), [(0, 0), (0, 29), (14, 14), (29, 0), (29, 29)]),
        (mini(), [(0, 0), (0, 8), (4, 4), (8, 0), (8, 8)]),
    ],
)
def test_the_ten_views_are_corners_and_centre_and_then_their_mirrors(config, offsets):
    views = views_of(config.input, "ten")
    assert [(view.y, view.x) for view in views] == offsets * 2
    assert [view.mirrored for view in views] == [False] * 5 + [True] * 5
    assert views_of(config.input, "centre") == (View(*offsets[2], False),)


@pytest.mark.parametrize(
    "config", [paper(), replace(caffe(), input=replace(caffe().input, order="rgb"))]
)
def test_each_view_holds_just_its_pixels(config):
    views, side = views_of(config.input, "ten"), config.input.crop
    crops = without_mean(config)(coordinate_photo(config.input.size), views)
    for crop, view in zip(crops, views, strict=True):
        rows = torch.arange(view.y, view.y + side).float()
        columns = torch.arange(view.x, view.x + side).float()
        columns = columns.flip(0) if view.mirrored else columns
        assert torch.equal(crop[0], rows[:, None].expand(side, side))
        assert torch.equal(crop[1], columns[None, :].expand(side, side))
        assert not crop[2].any()


def test_views_of_several_photos_come_view_by_view():
    config = mini()
    photos = torch.cat([coordinate_photo(64), 255 - coordinate_photo(64)])
    together = without_mean(config)(photos, views_of(config.input, "ten"))
    for number in range(2):
        alone = without_mean(config)(photos[number : number + 1], views_of(config.input, "ten"))
        assert torch.equal(together[number::2], alone)


def uneven_mean():
    return np.random.default_rng(1).uniform(60, 180, (64, 64, 3)).astype(np.float32)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("mean", ["aligned", "centred"])
def test_a_random_crop_of_each_photo_is_the_view_at_its_place(mean, order):
    config = replace(mini().input, mean=mean, order=order)
    random, image = np.random.default_rng(0), uneven_mean()
    photos = random.integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    shift = random.uniform(-20, 20, (5, 3)).astype(np.float32)
    places = [(0, 8, False), (8, 0, True), (3, 5, True), (8, 8, False), (4, 4, True)]
    y, x, mirrored = (torch.tensor(column) for column in zip(*places, strict=True))
    crops, batch = Crops(config, image), torch.from_numpy(photos)
    found = crops.each(batch, y, x, mirrored=mirrored)
    shifted = crops.each(batch, y, x, mirrored=mirrored, shift=torch.from_numpy(shift))
    for n, (top, left, turned) in enumerate(places):
        view = crops(batch[n : n + 1], [View(top, left, turned)])[0]
        assert torch.equal(found[n], view)
        expected = photos[n, top : top + 56, left : left + 56].astype(np.float32)
        if mean == "aligned":  # the mean image is cut and mirrored with the photo
            expected = expected - image[top : top + 56, left : left + 56]
        expected = expected[:, ::-1] if turned else expected
        if mean == "centred":  # and here it is neither
            expected = expected - image[4:60, 4:60]
        for crop, added in ((found[n], 0), (shifted[n], shift[n])):
            colours = expected + added
            colours = colours[..., ::-1] if order == "bgr" else colours
            np.testing.assert_allclose(crop.permute(1, 2, 0).numpy(), colours, atol=1e-4)


def test_an_aligned_mean_takes_the_mean_image_away_whole_at_random_crops():
    config, photo = mini().input, np.rint(uneven_mean())
    batch = torch.from_numpy(photo.astype(np.uint8)).expand(9, -1, -1, -1)
    offsets = torch.arange(9)
    crops = Crops(config, photo).each(batch, offsets, 8 - offsets, mirrored=offsets % 2 == 0)
    assert not crops.any()


def mean_photo():
    photo = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    return photo, torch.from_numpy(photo[None]), torch.from_numpy(photo).permute(2, 0, 1).float()


def test_an_aligned_mean_takes_the_mean_image_away_whole_at_every_view():
    photo, batch, _ = mean_photo()
    crops = Crops(paper().input, photo.astype(np.float32))
    assert not crops(batch, views_of(paper().input, "ten")).any()


def test_net145_takes_the_centre_of_the_mean_from_every_crop():
    photo, batch, image = mean_photo()
    crops = Crops(net145().input, photo.astype(np.float32))
    centre = image[:, 16:240, 16:240]
    corner, middle, turned = crops(
        batch, [View(0, 0, False), View(16, 16, False), View(16, 16, True)]
    )
    assert torch.equal(corner, image[:, :224, :224] - centre)
    assert corner.any()
    assert not middle.any()
    assert torch.equal(turned, centre.flip(2) - centre)  # the mean is not mirrored
    assert turned.any()


def test_channel_means_and_deviations_apply_to_each_channel():
    config = torchvision().input
    colour = (123, 116, 104)
    photo = torch.tensor(colour, dtype=torch.uint8).expand(1, 256, 256, 3)
    crop = Crops(config, None)(photo, views_of(config, "centre"))[0]
    expected = [
        (v - m) / s
        for v, m, s in zip((123, 116, 104), config.mean_rgb, config.std_rgb, strict=True)
    ]
    assert crop[:, 0, 0].tolist() == pytest.approx(expected, abs=1e-6)
    # The same as scaling to 0..1 with ImageNet's usual constants.
    assert crop[0, 5, 5].item() == pytest.approx((123 / 255 - 0.485) / 0.229, abs=1e-6)


def test_caffe_s_network_gets_blue_first():
    config = caffe().input
    photo = torch.tensor([10, 20, 30], dtype=torch.uint8).expand(1, 256, 256, 3)
    mean = np.broadcast_to(np.array([1, 2, 3], np.float32), (256, 256, 3))
    crop = Crops(config, mean)(photo, views_of(config, "centre"))[0]
    assert crop[:, 0, 0].tolist() == [27, 18, 9]


@pytest.mark.parametrize(
    ("config", "mean"),
    [
        (paper(), None),
        (paper(), np.zeros((64, 64, 3), np.float32)),
        (torchvision(), np.zeros((256, 256, 3), np.float32)),
    ],
)
def test_a_missing_or_superfluous_mean_image_is_an_error(config, mean):
    with pytest.raises(AlexNetError, match="mean image"):
        Crops(config.input, mean)
