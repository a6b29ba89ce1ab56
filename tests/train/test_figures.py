"""Figures of a trained network: its kernels, answers, curves and confusions."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from alexnet.checkpoint import save_checkpoint
from alexnet.fresh import fresh_checkpoint
from alexnet.labels import Label, ilsvrc2012
from tests.models import tiny
from train.cli import main
from train.dataset import Dataset
from train.figures.curves import curves, read_metrics
from train.figures.kernels import (
    area_under_curve,
    colour_energies,
    colour_facts,
    conv1_kernels,
    stretched,
    tiles,
)
from train.figures.names import short_name, wrapped_name

pytest.importorskip("matplotlib", reason="the extra plots draws figures")

from train.figures import answers, confusion, kernels

ABC = tuple(Label(letter, f"{letter}, of the alphabet") for letter in "abcdefg")


def kernel(*pixels):
    """A kernel of one row: RGB by RGB."""
    return np.array([pixels], dtype=np.float64)


# Figure 3


def test_a_column_is_stretched_by_its_least_and_greatest_weight():
    two = np.stack([kernel((0, 1, 2)), kernel((-2, 2, 0))])
    expected = np.stack([kernel((0.5, 0.75, 1)), kernel((0, 1, 0.5))])
    assert np.array_equal(stretched(two), expected)
    assert np.array_equal(stretched(np.full((3, 2, 2, 3), 7.0)), np.full((3, 2, 2, 3), 0.5))


def test_kernels_stand_sixteen_a_row_with_a_white_line_between():
    found = tiles(np.stack([np.full((2, 2, 3), number / 100) for number in range(18)]))
    assert found.shape == (5, 47, 3)
    painted = np.zeros((5, 47), dtype=bool)
    for number in range(18):
        y, x = 3 * (number // 16), 3 * (number % 16)
        assert (found[y : y + 2, x : x + 2] == number / 100).all()
        painted[y : y + 2, x : x + 2] = True
    assert (found[~painted] == 1).all()


def test_few_kernels_make_a_shorter_row():
    assert tiles(np.zeros((12, 5, 5, 3))).shape == (5, 71, 3)


def test_colour_energy_is_what_is_left_without_the_mean_of_the_channels():
    grey, opposite, red = kernel((1, 1, 1)), kernel((1, -1, 0)), kernel((3, 0, 0))
    # Of (3, 0, 0) the mean is 1, and (2, -1, -1) is left: 6 of 9.
    found = colour_energies(np.stack([grey, opposite, red, np.zeros((1, 1, 3))]))
    assert found == pytest.approx([0, 1, 2 / 3, 0])


def test_auc_counts_pairs_and_half_of_the_equal_ones():
    assert area_under_curve(np.array([1, 2, 3]), np.array([2, 2, 4])) == pytest.approx(3 / 9)
    random = np.random.default_rng(0)
    first, second = random.integers(0, 9, 30) / 8, random.integers(0, 9, 40) / 8
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(first, second)]
    assert area_under_curve(first, second) == pytest.approx(sum(pairs) / len(pairs))


def test_either_column_may_be_the_one_with_colour():
    grey = np.stack([kernel((1, 1, 1)), kernel((2, 2, 1)), kernel((5, 5, 5))])
    coloured = np.stack([kernel((1, -1, 0)), kernel((3, 0, 0)), kernel((0, 2, 0))])
    one, other = colour_facts([coloured, grey]), colour_facts([grey, coloured])
    assert one["auc"] == other["auc"] == 1
    assert (one["column_with_colour"], other["column_with_colour"]) == (1, 2)
    assert (one["auc_first_over_second"], other["auc_first_over_second"]) == (1, 0)
    # Red is 2/3 colour, and so is green; the middle one of the grey kernels has none.
    assert one["medians"] == other["medians"][::-1] == [round(2 / 3, 6), 0]
    assert "auc" not in colour_facts([grey])


def test_columns_are_halves_of_the_maps_and_channels_are_turned_to_rgb():
    for order in ("rgb", "bgr"):
        checkpoint = fresh_checkpoint(tiny(order=order), seed=0)
        weights = checkpoint.weights["conv1.weight"]
        assert weights.shape == (8, 3, 5, 5)
        first, second = conv1_kernels(checkpoint)
        assert first.shape == second.shape == (4, 5, 5, 3)
        red = 0 if order == "rgb" else 2
        assert first[3, 1, 2, 0] == pytest.approx(float(weights[3, red, 1, 2]))
        assert second[0, 4, 0, 0] == pytest.approx(float(weights[4, red, 4, 0]))


def test_the_first_column_is_drawn_above_the_second():
    black = np.zeros((2, 2, 2, 3))
    black[0, 0, 0] = 1  # stretched: one white pixel, all others black
    grey = np.ones((2, 2, 2, 3))
    figure = kernels.draw([black, grey], colour_facts([black, grey]), title="two")
    picture = figure.axes[0].images[0].get_array()
    rows = picture[:, :, 0][:: len(picture) // 7]  # 2 pixels, 3 of white, 2 pixels
    assert rows[:, -1].tolist() == [0, 0, 1, 1, 1, 0.5, 0.5]
    assert len(figure.axes[1].lines) == 4  # dots and a median for each column


# Figure 4


class Answering:
    """A backend that knows what it will say."""

    def __init__(self, rows, labels=ABC):
        self.rows = np.array(rows, dtype=np.float32)
        self.info = type("Info", (), {"labels": labels})

    def run(self, photos):
        return self.rows[: len(photos)]


class Photos:
    """A part of a data set of so many white photos."""

    def __init__(self, labels, size=8):
        self.labels, self.size = np.array(labels), size

    def __len__(self):
        return len(self.labels)

    def photos(self, indices):
        return np.full((len(indices), self.size, self.size, 3), 255, dtype=np.uint8)


def test_the_seed_chooses_the_photos_and_none_twice():
    split = Photos([0] * 100)
    first = answers.drawn(split, seed=3)
    assert len(set(first)) == 8
    assert first == answers.drawn(split, seed=3) != answers.drawn(split, seed=4)
    assert sorted(answers.drawn(Photos([0] * 3), seed=0)) == [0, 1, 2]


def test_bars_are_the_five_best_labels_and_the_correct_one_has_its_own_colour():
    from matplotlib.colors import to_hex

    rows = [[0.05, 0.4, 0.1, 0.02, 0.3, 0.13, 0], [0.5, 0.2, 0.1, 0.08, 0.07, 0.05, 0]]
    found = answers.answers(Answering(rows), Photos([4, 6]), [0, 1])
    assert [answer["class"] for answer in found[0]["answers"]] == [1, 4, 5, 2, 0]
    assert (found[0]["rank"], found[1]["rank"]) == (2, None)
    assert found[0]["name"] == "e, of the alphabet"
    crops = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    figure = answers.draw(crops, found, ABC, title="two")
    photos, bars = figure.axes[:2], figure.axes[2:]
    assert [axes.texts[0].get_text() for axes in photos] == ["e", "g"]
    widths = [bar.get_width() for bar in bars[0].patches]
    assert widths == pytest.approx([0.4, 0.3, 0.13, 0.1, 0.05])
    colours = [to_hex(bar.get_facecolor()).upper() for bar in bars[0].patches]
    assert colours == [answers.OTHER, answers.RIGHT, *[answers.OTHER] * 3]
    assert bars[0].get_xlim() == (0, 1)
    assert {to_hex(bar.get_facecolor()).upper() for bar in bars[1].patches} == {answers.OTHER}


def test_the_crop_in_the_middle_is_shown():
    config = tiny().input
    photos = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    assert np.array_equal(answers.centre_crops(photos, config), photos[:, 4:44, 4:44])


def test_the_longest_names_of_imagenet_fit_beside_their_bars():
    labels = sorted(ilsvrc2012(), key=lambda label: -len(label.name.split(",")[0]))[:7]
    found = answers.answers(Answering([[1 / 7] * 7] * 8, labels), Photos([0] * 8), range(8))
    figure = answers.draw(np.zeros((8, 4, 4, 3), dtype=np.uint8), found, labels, title="long")
    figure.draw_without_rendering()
    for axes in figure.axes:
        for text in axes.texts:
            wide = figure.bbox.width / 4 if axes.images else axes.bbox.width
            assert text.get_window_extent().width < wide, text.get_text()


def test_long_names_are_cut_or_wrapped():
    label = Label("n1", "German short-haired pointer, gun dog")
    assert short_name(label) == "German short-haired pointer"
    assert short_name(label, longest=12) == "German shor…"
    assert wrapped_name(label, width=20) == "German short-haired\npointer"
    assert short_name(Label("n2", "")) == "n2"
    lines = wrapped_name(Label("n3", "word " * 30), width=10).split("\n")
    assert len(lines) == 2
    assert max(map(len, lines)) <= 10


# Curves


def line(epoch, lr, **fields):
    names = ("train_error", "val_top1_error", "val_top5_error", "train_loss", "val_loss")
    return {"epoch": epoch, "lr": lr} | dict.fromkeys(names, 0.5) | fields


def test_cuts_are_the_epochs_that_begin_with_a_lower_rate():
    found = curves([line(n, rate) for n, rate in enumerate([0.01, 0.01, 0.001, 0.001, 1e-4], 1)])
    assert found["cuts"] == [{"epoch": 3, "lr": 0.001}, {"epoch": 5, "lr": 1e-4}]
    assert found["epochs"] == [1, 2, 3, 4, 5]
    assert found["val_loss"] == [0.5] * 5


def test_a_rate_that_falls_in_every_epoch_is_not_cut():
    assert curves([line(n, 1 / n) for n in range(1, 9)])["cuts"] == []
    assert curves([line(1, 0.01)])["cuts"] == []


def test_a_torn_line_and_an_unfinished_epoch_are_no_epochs(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    whole, part = json.dumps(line(1, 0.1)), json.dumps(line(2, 0.1, steps=7))
    path.write_text(f"{whole}\n{part}\n{whole[:20]}")
    assert read_metrics(path) == [line(1, 0.1)]


# Confusions

CORRECT = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 4, 4])
GIVEN = np.array([0, 3, 3, 1, 1, 1, 0, 0, 4, 3, 4, 0])
# Errors: a 3 of 4, b none, c 4 of 4, e 1 of 2; no photo is of d, f or g.


def test_the_classes_with_the_highest_error_come_first_with_all_their_answers():
    found = confusion.confusion(CORRECT, GIVEN, ABC, count=2)["worst"]
    assert [(row["class"], row["photos"], row["top1_error"]) for row in found] == [
        *[(2, 4, 1), (0, 4, 0.75)],
    ]
    counts = [[(a["class"], a["photos"]) for a in row["taken_for"]] for row in found]
    assert counts == [[(0, 2), (3, 1), (4, 1)], [(3, 2), (0, 1), (1, 1)]]
    assert found[0]["name"] == "c, of the alphabet"


def test_the_matrix_has_right_answers_on_its_diagonal_and_every_photo_once():
    found = confusion.confusion(CORRECT, GIVEN, ABC, count=3)
    rows, columns, counts = confusion.table(found)
    assert rows == [2, 0, 4]
    # c is taken for a, which is there, a for d, and e for a.
    assert columns == [2, 0, 4, 3]
    assert counts.tolist() == [[0, 2, 1, 1, 0], [0, 1, 0, 2, 1], [0, 1, 1, 0, 0]]


def test_classes_without_photos_are_never_the_worst():
    found = confusion.confusion(CORRECT, GIVEN, ABC, count=99)["worst"]
    assert [row["class"] for row in found] == [2, 0, 4, 1]


def test_the_figure_shows_counts_and_names():
    found = confusion.confusion(CORRECT, GIVEN, ABC, count=2)
    (axes,) = confusion.draw(found, ABC, title="two").axes
    assert [text.get_text() for text in axes.texts] == ["2", "1", "1", "1", "2", "1"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["c, 100%", "a, 75%"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["c", "a", "d", "any other"]


# The command


def invoke(*arguments):
    return CliRunner().invoke(main, ["figures", *map(str, arguments)])


@pytest.fixture(scope="module")
def model(colors, tmp_path_factory):
    """An untrained network for the three colours, in the folder of a run of two epochs."""
    dataset = Dataset(colors)
    config = tiny(size=64, crop=56)
    config = replace(config, network=replace(config.network, classes=3))
    checkpoint = fresh_checkpoint(config, seed=0, labels=dataset.labels)
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    save_checkpoint(replace(checkpoint, mean=dataset.mean), path)
    lines = [json.dumps(line(epoch, 0.1**epoch)) for epoch in (1, 2)]
    (path.parent / "metrics.jsonl").write_text("\n".join(lines))
    return path


def test_all_four_figures_are_drawn_and_their_numbers_written(model, colors, tmp_path):
    done = invoke(model, "--data", colors, "--out", tmp_path / "one", "--seed", 5, "--classes", 2)
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "one" / "figures.json").read_text())
    names = {"kernels.svg", "curves.svg", "answers.svg", "confusion.svg"}
    assert {path.name for path in (tmp_path / "one").iterdir()} == names | {"figures.json"}
    assert set(facts["drawn"]) == names
    assert facts["missing"] == {}
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["auc"] == facts["kernels"]["auc"]
    assert facts["answers"]["seed"] == 5
    # The answers are the deployed function's, and the confusions add up to the error.
    from alexnet.backends import open_backend

    val = Dataset(colors).split("val")
    said = open_backend(model, views="centre").run(val.photos(np.arange(12)))
    for photo in facts["answers"]["photos"]:
        best = photo["answers"][0]
        assert best["class"] == said[photo["photo"]].argmax()
        assert best["probability"] == pytest.approx(float(said[photo["photo"]].max()), abs=1e-5)
        assert photo["class"] == val.labels[photo["photo"]]
    wrong = (said.argmax(1) != val.labels).mean()
    assert facts["confusion"]["top1_error"] == pytest.approx(wrong)
    assert facts["curves"]["cuts"] == [{"epoch": 2, "lr": pytest.approx(0.01)}]
    again = invoke(model, "--data", colors, "--out", tmp_path / "two", "--seed", 5, "--classes", 2)
    assert again.exit_code == 0
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_ten_views_can_be_averaged_and_figures_be_png(model, colors, tmp_path):
    done = invoke(*(model, "--data", colors, "--out", tmp_path, "--views=ten", "--format=png"))
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "figures.json").read_text())
    assert facts["answers"]["views"] == facts["confusion"]["views"] == "ten"
    for name in facts["drawn"]:
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"
            assert min(image.size) > 200


def test_what_can_not_be_drawn_is_a_sentence_and_the_rest_is_drawn(model, tmp_path):
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(model.read_bytes())
    done = invoke(alone, "--out", tmp_path / "figures")
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "figures" / "figures.json").read_text())
    assert facts["drawn"] == ["kernels.svg"]
    assert done.stderr.splitlines() == [
        f"No learning curves: {tmp_path} has no epoch in metrics.jsonl; name the run's folder "
        "with --run.",
        "No answers and no confusions: name prepared photos with --data.",
    ]
    again = invoke(alone, "--out", tmp_path / "figures", "--run", model.parent)
    assert json.loads(again.stdout.splitlines()[-1])["drawn"] == ["kernels.svg", "curves.svg"]


def test_a_run_may_be_its_metrics_under_any_name(model, tmp_path):
    metrics = tmp_path / "net145.jsonl"
    metrics.write_bytes((model.parent / "metrics.jsonl").read_bytes())
    done = invoke(model, "--out", tmp_path / "figures", "--run", metrics)
    assert done.exit_code == 0, done.output
    assert "Learning curves (net145)" in (tmp_path / "figures" / "curves.svg").read_text()


@pytest.mark.parametrize("option", ["--seed=0", "--views=ten", "--classes=3", "--device=cpu"])
def test_options_of_figures_that_take_photos_are_refused_without_them(option, model, tmp_path):
    done = invoke(model, "--out", tmp_path / "figures", option)
    assert done.exit_code == 2
    assert f"without --data: leave out {option.split('=')[0]}." in done.stderr
    assert not (tmp_path / "figures").exists()


def test_kernels_that_see_one_channel_have_no_figure():
    checkpoint = fresh_checkpoint(tiny(), seed=0)
    narrow = {"conv1.weight": torch.zeros(8, 1, 5, 5)}
    with pytest.raises(ValueError, match=r"conv1 see 1 channel\(s\), not three"):
        conv1_kernels(replace(checkpoint, weights=narrow))


def test_wrong_photos_and_no_checkpoint_are_sentences(colors, tmp_path, model_path):
    done = invoke(model_path, "--data", colors, "--out", tmp_path)
    assert done.exit_code == 1
    assert "classes" in done.stderr
    done = invoke(tmp_path / "none.safetensors", "--out", tmp_path)
    assert done.exit_code == 1
    assert "There is no checkpoint" in done.stderr
