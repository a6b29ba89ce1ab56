"""Half of the classes as a data set, and what a network for the other half is worth for it."""

import json
import pickle
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from alexnet.checkpoint import load_checkpoint
from alexnet.config import mini, six_conv
from alexnet.geometry import feature_count
from alexnet.settings import SettingsError, with_settings
from tests.photos import encode, pattern
from tests.train.conftest import lines
from tests.train.folders import make, write
from train.dataset import Dataset
from train.experiments import pages
from train.experiments.experiment import RESULT, ExperimentError, Task, carry_out, read_result
from train.experiments.intervals import estimate
from train.experiments.transfer import EXPERIMENT, Settings, halved
from train.experiments.transfer_page import draw, text
from train.experiments.transfer_variants import VARIANTS, frozen, sixth, slow
from train.experiments.variants import baseline
from train.facts import DatasetError
from train.recipe import LayersConfig
from train.subset import Subset

PLAIN = baseline(epochs=6, classes=3, seed=0)


def photos_of(places):
    """Photos of 64 pixels in class folders: five to learn and two to look at of each class."""
    return {
        f"{split}/class{place}/{number}.png": encode(
            pattern(64, 64, seed=100 * place + number + 10 * (split == "val"))
        )
        for split, count in (("train", 5), ("val", 2))
        for place in places
        for number in range(count)
    }


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """A data set of six classes."""
    folder = tmp_path_factory.mktemp("six")
    make(write(folder / "source", photos_of(range(6))), folder / "data", size=64)
    return folder / "data"


# Half of the classes


@pytest.fixture(scope="module")
def both(six, tmp_path_factory):
    """The classes 1, 3 and 5: looked at in the whole data set, and prepared from them alone."""
    folder = tmp_path_factory.mktemp("odd")
    make(write(folder / "source", photos_of((1, 3, 5))), folder / "data", size=64)
    return Subset(six, (1, 3, 5)), Dataset(folder / "data")


@pytest.mark.parametrize("split", ["train", "val"])
def test_some_classes_are_the_data_set_that_would_be_prepared_of_them_alone(both, split):
    subset, alone = both
    assert subset.labels == alone.labels
    ours, theirs = subset.split(split), alone.split(split)
    assert len(ours) == len(theirs) == subset.count(split)
    assert ours.labels.tolist() == theirs.labels.tolist()
    rows = np.arange(len(ours))
    assert np.array_equal(ours.photos(rows), theirs.photos(rows))
    assert [ours.jpeg(row) for row in rows] == [theirs.jpeg(row) for row in rows]


def test_they_have_a_mean_image_and_colours_of_their_own(both, six):
    subset, alone = both
    assert np.array_equal(subset.mean, alone.mean)
    assert subset.mean.dtype == np.float32
    assert np.array_equal(subset.color_pca.stds, alone.color_pca.stds)
    assert np.array_equal(subset.color_pca.components, alone.color_pca.components)
    assert not np.array_equal(subset.mean, Dataset(six).mean)


def test_their_facts_tell_them_from_the_whole_and_from_other_classes(both, six):
    subset, alone = both
    assert subset.facts["classes"] == alone.facts["classes"]
    assert subset.facts["counts"] == alone.facts["counts"] == {"train": 15, "val": 6}
    assert subset.source == f"{Dataset(six).source}, 3 of 6 classes"
    digests = {Subset(six, classes).facts["photos_sha256"] for classes in ((0, 1), (0, 2), (0, 3))}
    assert len(digests | {Dataset(six).facts["photos_sha256"]}) == 4


def test_they_can_be_sent_to_another_process(both):
    subset, _ = both
    found = pickle.loads(pickle.dumps(subset.split("val")))
    assert found.dataset.labels == subset.labels
    assert np.array_equal(found.photos([4]), subset.split("val").photos([4]))


@pytest.mark.parametrize("classes", [(), (1,), (3, 1), (1, 1), (-1, 2), (0, 6)])
def test_classes_that_are_not_there_are_a_sentence(six, classes):
    with pytest.raises(DatasetError, match="has classes 0 to 5: choose two of them at least"):
        Subset(six, classes)


def test_even_classes_come_first_and_odd_ones_then():
    assert halved(5) == ((0, 2, 4), (1, 3))
    with pytest.raises(ExperimentError, match="3 classes can't be halved"):
        halved(3)


# Variants


def test_at_a_tenth_are_the_weights_of_the_convolutions():
    part = LayersConfig(layers="conv1-conv5", factor=0.1, bias_factor=1.0)
    assert slow(PLAIN) == replace(PLAIN, recipe=replace(PLAIN.recipe, layers=(part,)))


def test_frozen_are_the_convolutions_weights_and_biases():
    (part,) = frozen(PLAIN).recipe.layers
    assert (part.layers, part.still) == ("conv1-conv5", True)


def test_the_sixth_convolution_is_to_mini_what_conv6_is_to_the_paper_s_network():
    config, theirs = sixth(PLAIN), six_conv().network.convs[-1]
    ours = config.network.convs[-1]
    assert config.network.convs[:-1] == mini().network.convs
    assert 4 * ours.maps == theirs.maps
    for name in ("kernel", "stride", "pad", "reads", "steps", "pool"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.init_std == pytest.approx((2 / (64 * 9)) ** 0.5, rel=2e-3)
    assert feature_count(config.config) == feature_count(PLAIN.config)


def test_every_variant_is_compared_with_one_from_scratch():
    assert all(VARIANTS[variant.against].keep is None for variant in VARIANTS.values())


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("epochs=0", "epochs must be at least 1"),
        ("seeds=[]", "seeds must name at least one, and none twice"),
        ("seeds=[1,1]", "seeds must name at least one, and none twice"),
        ("variants=[]", "variants must name at least one"),
        ('variants=["six-convs"]', "six-convs is compared with six-scratch"),
        ('variants=["thin"]', "variants.0 must be one of scratch-long, all-but-fc8"),
    ],
)
def test_settings_that_make_no_experiment_are_refused(setting, sentence):
    with pytest.raises(SettingsError, match=sentence):
        with_settings(Settings(), [setting])


# The experiment

SETTINGS = Settings(
    epochs=3, pretrain_epochs=3, seeds=(4,), variants=("all-but-fc8", "convs-frozen")
)
NAMES = ["all-but-fc8-4", "convs-frozen-4", "pretrained-4", "scratch-4"]


def carried_out(data, out, **fields):
    task = Task(**{"data": data, "out": out, "settings": SETTINGS} | fields)
    return carry_out(EXPERIMENT, task, command="alexnet-train experiment transfer")


@pytest.fixture(scope="module")
def done(six, tmp_path_factory):
    """The whole experiment in its folder, and its result."""
    out = tmp_path_factory.mktemp("transfer") / "out"
    return out, carried_out(six, out)


@pytest.mark.slow
def test_all_is_trained_and_counted(done):
    out, result = done
    assert (result["complete"], result["runs"]) == (True, 4)
    assert sorted(path.name for path in (out / "runs").iterdir()) == NAMES
    assert result["found"]["halves"] == [{"classes": 3, "train": 15, "val": 6}] * 2


@pytest.mark.slow
def test_each_network_learns_its_half(done):
    out, _ = done
    names = {name: load_checkpoint(out / "runs" / name / "model.safetensors") for name in NAMES}
    for name, model in names.items():
        odd = ["class1", "class3", "class5"]
        even = ["class0", "class2", "class4"]
        expected = even if name.startswith("pretrained") else odd
        assert [label.wnid for label in model.labels] == expected
        assert model.provenance["seed"] == 4


@pytest.mark.slow
def test_what_is_kept_and_frozen_is_the_first_half_s_network(done):
    out, _ = done
    weights = {
        name: load_checkpoint(out / "runs" / name / "model.safetensors").weights for name in NAMES
    }
    for name, weight in weights["convs-frozen-4"].items():
        same = torch.equal(weight, weights["pretrained-4"][name])
        assert same == name.startswith("conv"), name
    facts = json.loads((out / "runs" / "all-but-fc8-4" / "config.json").read_text())["init_from"]
    assert facts["keep"] == "conv1-fc7"


@pytest.mark.slow
def test_figures_are_those_of_the_runs_and_differences_are_paired_by_seed(done):
    out, result = done
    found = result["found"]
    for name in NAMES:
        kind, seed = name.rsplit("-", 1)
        run = found["runs"][kind][seed]
        measured = lines(out / "runs" / name / "metrics.jsonl")
        assert run["curve"] == [round(line["val_top1_error"], 6) for line in measured]
        model = load_checkpoint(out / "runs" / name / "model.safetensors")
        ten = model.provenance["validation"]["ten"]
        assert run["ten"]["top1"] == round(ten["val_top1_error"], 6)
    difference = found["differences"]["convs-frozen"]
    errors = [found["runs"][kind]["4"]["ten"]["top1"] for kind in ("convs-frozen", "scratch")]
    assert difference["top1"]["values"] == [pytest.approx(100 * (errors[0] - errors[1]), abs=1e-3)]
    assert (difference["seeds"], difference["top1"]["half"]) == ([4], None)
    assert set(found["differences"]) == {"all-but-fc8", "convs-frozen"}


@pytest.mark.slow
def test_stopped_in_the_middle_it_goes_on_to_the_same_result(done, six, tmp_path):
    """Without one of the trainings, and without time; then with time."""
    out, result = done
    shutil.copytree(out, tmp_path / "out")
    (tmp_path / "out" / "parts" / "all-but-fc8-4.json").unlink()
    shutil.rmtree(tmp_path / "out" / "runs" / "all-but-fc8-4")
    stopped = carried_out(six, tmp_path / "out", deadline=time.monotonic())
    assert (stopped["complete"], stopped["runs"]) == (False, 3)
    assert "Not trained yet, with their seeds: all-but-fc8 (4)." in text(stopped)
    assert carried_out(six, tmp_path / "out")["found"] == result["found"]


# Figure and text, of errors that were made up


def made_up():
    """Three seeds; scratch ends at 40 %, the kept network at 33, 34 and 35 %."""

    def run(curve, top1):
        return {"curve": curve, "train": curve, "ten": {"top1": top1, "top5": 0.1}, "loss": 1.0}

    scratch = {str(n): run([0.8, 0.6, 0.42], 0.40) for n in range(3)}
    kept = {str(n): run([0.5, 0.41, 0.36], 0.33 + n / 100) for n in range(3)}
    values = [-7.0, -6.0, -5.0]
    top1 = {"values": values, **vars(estimate(values))}
    top5 = {"values": [0.0] * 3, **vars(estimate([0.0] * 3))}
    half = {"classes": 25, "train": 12500, "val": 1250}
    return {
        "settings": {**vars(SETTINGS), "seeds": [0, 1, 2]},
        "found": {
            "halves": [half, half],
            "runs": {"pretrained": scratch, "scratch": scratch, "all-but-fc8": kept},
            "differences": {"all-but-fc8": {"seeds": [0, 1, 2], "top1": top1, "top5": top5}},
        },
    }


def test_the_text_says_errors_differences_and_when_scratch_is_caught_up_with():
    """The mean is -6 and t is 4.303: half of the interval is 4.303 / sqrt(3) = 2.5 points."""
    rows = [line for line in text(made_up()).splitlines() if line.startswith("| ")]
    assert rows[2] == "| from scratch | 40.0% |  | 10.0% |  | 80.0% |  |"
    kept = "| conv1-fc7 kept, all learn | 34.0% | -6.0 ± 2.5 | 10.0% | +0.0 ± 0.0 | 50.0% | 2 |"
    assert rows[3] == kept
    words = text(made_up())
    assert "- Conv1-fc7 kept, all learn: better than from scratch." in words
    assert "39.0 % / 16.6 % where one network without has 40.7 % / 18.2 %" in words
    assert "1.7 and 1.6 points less (table 2)" in words
    assert "Not trained yet" not in words


def test_the_figure_shows_errors_in_percent_and_differences_in_points():
    pytest.importorskip("matplotlib", reason="figures are drawn with matplotlib")
    left, right = draw(made_up()).axes
    means = [line for line in left.get_lines() if line.get_label()[0] != "_"]
    assert [line.get_label() for line in means] == ["from scratch", "conv1-fc7 kept, all learn"]
    assert list(means[1].get_ydata()) == pytest.approx([50, 41, 36])
    seeds = right.get_lines()[1]
    assert list(seeds.get_xdata()) == [-7, -6, -5]


@pytest.mark.slow
def test_figure_and_text_are_made_again_from_the_result_to_the_same_bytes(done, tmp_path):
    pytest.importorskip("matplotlib", reason="figures are drawn with matplotlib")
    out, result = done
    again = read_result(out / RESULT, EXPERIMENT)
    for name, found in (("first.svg", result), ("again.svg", again)):
        pages.draw(EXPERIMENT, found, tmp_path / name)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "again.svg").read_bytes()
    assert pages.section(EXPERIMENT, again) == pages.section(EXPERIMENT, result)
