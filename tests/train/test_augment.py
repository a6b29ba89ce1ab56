import numpy as np
import pytest
import torch

from alexnet.color import ColorPCA
from alexnet.config import InputConfig
from alexnet.views import Crops
from train.augment import color_shift, draw_crops, rescaled
from train.recipe import NoiseConfig

# The statistics of ILSVRC-2012 on the scale 0-255, columns are eigenvectors
# [CC2 make-data/input_meta].
PCA = ColorPCA(
    stds=np.array([19.720833, 37.0938885, 121.780061]),
    components=np.array(
        [
            [0.4179551, -0.7125795, -0.5635105],
            [-0.8169806, -0.0235417, -0.5761844],
            [0.3973112, 0.7011963, -0.5920030],
        ]
    ),
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("crop", "distinct"), [(224, 33 * 33 * 2), (227, 30 * 30 * 2)])
def test_every_offset_and_mirror_is_drawn(crop, distinct):
    draw = draw_crops(60_000, InputConfig(crop=crop), generator=generator())
    seen = set(zip(draw.y.tolist(), draw.x.tolist(), draw.mirrored.tolist(), strict=True))
    assert len(seen) == distinct
    assert (draw.y.min(), draw.y.max(), draw.x.min(), draw.x.max()) == (0, 256 - crop) * 2


def test_32_consecutive_photos_share_a_crop_as_in_2012():
    draw = draw_crops(128, InputConfig(), generator=generator(), shared_by=32)
    rows = torch.stack((draw.y, draw.x, draw.mirrored.long()), 1).reshape(4, 32, 3)
    assert (rows == rows[:, :1]).all()
    assert len({tuple(row[0].tolist()) for row in rows}) == 4


def test_a_short_minibatch_gets_a_crop_for_each_photo():
    assert len(draw_crops(70, InputConfig(), generator=generator(), shared_by=32).y) == 70


def test_a_crop_shows_the_pixels_from_its_corner_and_mirrored_ones_from_the_right():
    config = InputConfig(mean="channel", mean_rgb=(0.0, 0.0, 0.0))
    # Pixel (y, x) holds y in red, x in green and the photo's number in blue.
    photos = torch.zeros(2, 256, 256, 3, dtype=torch.uint8)
    photos[..., 0] = torch.arange(256)[:, None]
    photos[..., 1] = torch.arange(256)[None, :]
    photos[1, ..., 2] = 1
    crops = Crops(config, None).each(
        photos, torch.tensor([0, 32]), torch.tensor([5, 32]), mirrored=torch.tensor([False, True])
    )
    assert crops.shape == (2, 3, 224, 224)
    assert crops[0, :, 0, 0].tolist() == [0, 5, 0]
    assert crops[0, :, 223, 223].tolist() == [223, 228, 0]
    assert crops[1, :, 0, 0].tolist() == [32, 255, 1]
    assert crops[1, :, 223, 223].tolist() == [255, 32, 1]


@pytest.mark.parametrize(
    ("factors", "shift"),
    [
        ((0, 0, 1), (-6.8624337, -7.0167771, -7.2094157)),
        ((0, 1, 0), (-2.6432343, -0.0873252, 2.6010099)),
        ((1, 0, 0), (0.8242423, -1.6111538, 0.7835308)),
    ],
)
def test_noise_follows_the_components_with_their_deviations(factors, shift):
    z = torch.tensor([factors], dtype=torch.float64)
    assert color_shift(z, PCA, NoiseConfig())[0].tolist() == pytest.approx(shift, abs=1e-6)


def test_the_noisy_input_is_divided_by_1_1_where_the_recipe_says_so():
    config = InputConfig(size=8, crop=8, mean="channel", mean_rgb=(0.0, 0.0, 0.0))
    noise = NoiseConfig(rescale=True)
    z = torch.tensor([[1.0, -0.5, 2.0]], dtype=torch.float64)
    photo = torch.tensor([10, 20, 30], dtype=torch.uint8).expand(1, 8, 8, 3)
    zero = torch.tensor([0])
    crops = Crops(config, None).double()
    crop = crops.each(photo, zero, zero, mirrored=zero.bool(), shift=color_shift(z, PCA, noise))
    expected = torch.tensor([-1.4354618, 3.9990496, 13.6947222], dtype=torch.float64)
    assert torch.allclose(rescaled(crop, noise), expected.view(1, 3, 1, 1), atol=1e-6)


def test_noise_of_0_changes_nothing_and_divides_nothing():
    noise = NoiseConfig(coefficient=0.0, rescale=True)
    crops = torch.rand(2, 3, 4, 4)
    assert torch.equal(rescaled(crops, noise), crops)
    assert not color_shift(torch.randn(2, 3), PCA, noise).any()


def test_channels_vary_as_much_as_in_2012():
    shift = color_shift(torch.randn(200_000, 3, generator=generator()), PCA, NoiseConfig())
    assert shift.std(0).tolist() == pytest.approx([7.400, 7.200, 7.704], rel=0.01)


def test_eigenvalues_read_literally_are_absurd_on_this_scale():
    z = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    shift = color_shift(z, PCA, NoiseConfig(of="eigenvalues"))
    assert float(shift.norm()) == pytest.approx(1483, abs=1)
