"""Which outputs of a view are the whole photo's: by arithmetic, and by following every pixel."""

import subprocess
import sys
from dataclasses import replace

import pytest

from alexnet.config import PRESETS, InputConfig, mini, paper, preset, torchvision
from alexnet.views import views_of
from export.sharing import PLACES, sharing_of
from tests.export.geometries import random_config
from tests.photos import ROOT

SEEDS = range(60)
ALL = float("inf")


# Every pixel followed: a value is what it was made from, so that two are equal only if they hang on
# the same pixels in the same way. Along one axis; 0 is padding.


def outputs_of(layer, conv, values, *, pads=None):
    """What a layer makes of values along one axis; `pads` in place of its own."""
    if layer.kind == "conv":
        before, after = pads or conv.pad
        return windows([0] * before + values + [0] * after, conv.kernel, conv.stride, layer.name)
    if layer.kind == "pool":
        pool = conv.pool
        spill = pads[1] if pads else pool.size if pool.ceil else 0
        found = windows(values + [None] * spill, pool.size, pool.stride, layer.name)
        # No window begins past the edge; where sizes are rounded up, one may end there.
        count = -(-len(values) // pool.stride)
        needed = -(-max(len(values) - pool.size, 0) // pool.stride) + 1
        return found if pads else found[: min(count, needed)]
    if layer.kind == "lrn" and conv.lrn_of(layer.step).window == "positions":
        size = conv.lrn_of(layer.step).size
        before, after = pads or (size // 2, size - 1 - size // 2)
        sums = windows([0] * before + values + [0] * after, size, 1, layer.name)
        # Each value is divided by its window's; a strip's windows begin with its first input.
        first = size // 2 - before
        return list(zip(values[first : first + len(sums)], sums, strict=True))
    return [(layer.name, value) for value in values]


def windows(values, size, stride, name):
    starts = range(0, len(values) - size + 1, stride)
    return [(name, tuple(values[start : start + size])) for start in starts]


def through(config, stage, values):
    for layer in stage.layers:
        values = outputs_of(layer, config.network.convs[layer.conv], values)
    return values


def pixels(config):
    """Of the whole photo, and of a view at each of the three places along an axis."""
    far, side = config.input.size - config.input.crop, config.input.crop
    photo = [("pixel", index) for index in range(config.input.size)]
    return photo, [photo[start : start + side] for start in (0, far // 2, far)]


@pytest.mark.parametrize("seed", SEEDS)
def test_common_outputs_are_those_that_come_from_the_same_pixels_and_no_others(seed):
    config = random_config(seed)
    photo, views = pixels(config)
    for stage in sharing_of(config, worth=ALL).stages:
        photo = through(config, stage, photo)
        views = [through(config, stage, view) for view in views]
        extent = stage.outputs
        assert len(photo) == extent.length(whole=True)
        for place, view in enumerate(views):
            assert len(view) == extent.side
            offset = extent.offset(place)
            same = [at for at, value in enumerate(view) if value == photo[offset + at]]
            assert same == list(range(*extent.common(place)))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_part_of_the_inputs_with_its_padding_gives_a_part_of_the_outputs(seed):
    config = random_config(seed)
    photo, views = pixels(config)
    for stage in sharing_of(config, worth=ALL).stages:
        before = views[1]
        photo_before, photo = photo, through(config, stage, photo)
        views = [through(config, stage, view) for view in views]
        side = stage.outputs.side
        parts = {(0, side), *(stage.outputs.edges("centre").values()), (side // 2, side // 2 + 1)}
        for start, stop in parts:
            found = part_of(config, stage, before, stage.reaches(start, stop))
            assert found == views[1][start:stop]
        assert part_of(config, stage, photo_before, stage.all_of(whole=True)) == photo


def part_of(config, stage, values, reaches):
    values = values[reaches[0].start : reaches[0].stop]
    for layer, reach in zip(stage.layers, reaches, strict=True):
        assert len(values) == reach.stop - reach.start
        conv = config.network.convs[layer.conv]
        values = outputs_of(layer, conv, values, pads=(reach.before, reach.after))
        assert len(values) == reach.outputs
    return values


def test_the_random_networks_share_nothing_one_two_and_three_convolutions():
    counts = [len(sharing_of(random_config(seed), worth=ALL).stages) for seed in SEEDS]
    assert {0, 1, 2, 3} <= set(counts)


# The presets, by hand


def stages_of(name):
    return [
        ([layer.name for layer in stage.layers], stage) for stage in sharing_of(preset(name)).stages
    ]


def test_paper_by_hand():
    """Only the last window of 55 reaches over the crop's end, and none over its beginning."""
    (first, conv1), (second, conv2) = stages_of("paper")
    assert first == ["conv1", "relu1", "lrn1", "pool1"]
    # Row 54 of conv1 reads pixels 216 to 226 of 224; pool1's last row reads rows 52 to 54.
    assert (conv1.extents[1].side, conv1.extents[1].before, conv1.extents[1].after) == (55, 0, 1)
    assert (conv1.outputs.side, conv1.outputs.before, conv1.outputs.after) == (27, 0, 1)
    # The views are 16 pixels apart: 4 windows of conv1, 2 of pool1.
    assert [conv1.extents[1].offset(place) for place in (0, 1, 2)] == [0, 4, 8]
    assert [conv1.outputs.offset(place) for place in (0, 1, 2)] == [0, 2, 4]
    # 5x5 with padding 2: two rows at the beginning; two and the one of before at the end.
    assert second == ["conv2", "relu2", "lrn2"]
    assert (conv2.outputs.side, conv2.outputs.before, conv2.outputs.after) == (27, 2, 3)


def test_paper_s_work_by_hand():
    conv1, conv2 = sharing_of(paper()).stages
    # 63 x 63 of the whole photo, and 3 rows of 55 (for one of pool1) at the six inner ends.
    assert conv1.work == pytest.approx((63 * 63 + 6 * 3 * 55) / (5 * 55 * 55))
    # 31 x 31, three rows of 27 at the six inner ends, and two at the six inner beginnings.
    assert conv2.work == pytest.approx((31 * 31 + 6 * 3 * 27 + 6 * 2 * 27) / (5 * 27 * 27))


def test_torchvision_by_hand():
    """Padding 2 around 224 pixels: the first window reads 2 zeros, the last one 1."""
    (first, conv1), (second, conv2) = stages_of("torchvision")
    assert first == ["conv1", "relu1", "pool1"]
    assert (conv1.extents[1].before, conv1.extents[1].after) == (1, 1)
    assert (conv1.outputs.before, conv1.outputs.after) == (1, 1)
    assert second == ["conv2", "relu2"]
    assert (conv2.outputs.before, conv2.outputs.after) == (3, 3)


@pytest.mark.parametrize("name", ["net145", "one_gpu", "six_conv"])
def test_a_centred_mean_leaves_the_linear_part_of_conv1(name):
    sharing = sharing_of(preset(name))
    assert [[layer.name for layer in stage.layers] for stage in sharing.stages] == [["conv1"]]
    assert sharing.linear
    assert "the mean's centre is subtracted" in sharing.sentence


def test_crops_between_two_windows_share_nothing():
    sharing = sharing_of(preset("caffe"))
    assert sharing.stages == ()
    assert sharing.sentence == (
        "The views share nothing: before conv1 the views begin at 0, 14 and 29, and its stride is "
        "4."
    )


def test_an_odd_margin_shares_nothing_as_the_mirror_s_centre_is_another():
    config = mini()
    config = replace(config, input=replace(config.input, size=63))
    assert sharing_of(config).sentence == (
        "The views share nothing: before conv1 the views begin at 0, 3 and 7, and those of the "
        "mirror at 0, 4 and 7."
    )


def test_a_pooling_between_two_windows_ends_what_is_shared():
    config = mini()
    config = replace(config, input=replace(config.input, size=62))  # offsets 0, 3, 6
    sharing = sharing_of(config)
    assert [layer.name for layer in sharing.stages[-1].layers] == ["conv1", "relu1", "lrn1"]
    assert "before pool1 the views begin at 0, 3 and 6, and its stride is 2" in sharing.sentence


def test_what_is_hardly_cheaper_is_not_shared():
    assert len(sharing_of(torchvision(), worth=0.9).stages) == 3
    assert len(sharing_of(torchvision()).stages) == 2
    assert "of conv3 82 % would be left" in sharing_of(torchvision()).sentence


@pytest.mark.parametrize("name", PRESETS)
def test_the_places_are_those_of_the_views(name):
    """Of the photo in the views' order, and of its mirror, wherever it can be shared at all."""
    config = preset(name).input
    far = config.size - config.crop
    along = (0, far // 2, far)
    here = [(along[down], along[across]) for down, across in PLACES.values()]
    ten = views_of(config, "ten")
    assert here == [(view.y, view.x) for view in ten if not view.mirrored]
    if far % 2 == 0:
        assert sorted(here) == sorted((view.y, far - view.x) for view in ten if view.mirrored)


def test_a_crop_that_is_the_photo_has_no_edges_of_its_own():
    config = replace(paper(), input=InputConfig(size=224))
    for stage in sharing_of(config).stages:
        assert not any(stage.outputs.edges(place) for place in PLACES)


# The documentation


def test_the_figure_is_drawn_from_today_s_arithmetic(tmp_path):
    script, figure = ROOT / "scripts" / "shared_views_figure.py", tmp_path / "figure.svg"
    subprocess.run([sys.executable, script, "-o", figure], check=True, cwd=ROOT)
    assert figure.read_text() == (ROOT / "docs" / "shared-views.svg").read_text()


@pytest.mark.parametrize("name", ["paper", "torchvision", "mini"])
def test_the_table_of_the_documentation_is_right(name):
    lines = (ROOT / "docs" / "shared-views.md").read_text("utf-8").splitlines()
    (row,) = [
        line for line in lines if line.startswith("|") and f"`{name}`" in line and "+" in line
    ]
    cells = [cell.strip() for cell in row.split("|")[2:5]]
    conv1, conv2 = sharing_of(preset(name)).stages
    extents = (conv1.extents[1], conv1.outputs, conv2.outputs)
    assert cells == [f"{extent.side}: {extent.before} + {extent.after}" for extent in extents]
