"""`alexnet-train evaluate --corrupt`: errors on spoilt photos, as table, JSON and curves."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from tests.train import eight_classes
from tests.train.conftest import on_ranks
from train.cli import main
from train.corruptions import CORRUPTIONS, corrupted
from train.dataset import Dataset
from train.mesh import open_mesh
from train.robustness import draw_robustness, evaluate_corrupted, figure_of


class _TwoGreys:
    """Three dark photos and one light one, which a network is to tell apart."""

    labels = np.array([0, 1, 0, 0])
    levels = np.array([100, 200, 100, 100], dtype=np.uint8)

    def __init__(self):
        self.decoded = []

    def __len__(self):
        return 4

    def photos(self, indices):
        self.decoded += list(indices)
        return np.repeat(self.levels[indices], 8 * 8 * 3).reshape(-1, 8, 8, 3)


def light(photos):
    """A network that calls a photo light above a mean of 150."""
    lights = photos.mean((1, 2, 3)) > 150
    return np.where(lights[:, None], [0.2, 0.8], [0.9, 0.1]).astype(np.float32)


def fickle(photos):
    """A network whose answers depend on every pixel."""
    sums = photos.astype(np.int64).sum((1, 2, 3)) % 2
    return np.where(sums[:, None], [0.2, 0.8], [0.9, 0.1]).astype(np.float32)


def test_errors_are_counted_for_every_corruption_and_severity():
    # 25.5 more leaves 100 below 150, 51 more and above do not; an even photo has no contrast.
    found = evaluate_corrupted(light, _TwoGreys(), ("brightness", "contrast"), batch=3)
    summary = found.summary()
    assert (summary["photos"], summary["top1_error"]) == (4, 0)
    brightness, contrast = summary["corruptions"].values()
    assert brightness["top1_error"] == [0, 0.75, 0.75, 0.75, 0.75]
    assert brightness["mean_top1_error"] == 0.6
    assert contrast["top1_error"] == [0] * 5
    assert summary["mean_top1_error"] == 0.3
    assert brightness["values"] == [0.1, 0.2, 0.3, 0.4, 0.5]
    # The label's probability is .9 and .8 where right, .2 of the dark photos where wrong.
    right, wrong = -(3 * np.log(0.9) + np.log(0.8)) / 4, -(3 * np.log(0.2) + np.log(0.8)) / 4
    assert brightness["loss"] == pytest.approx([right, *[wrong] * 4], abs=1e-6)


def test_each_photo_is_decoded_once():
    split = _TwoGreys()
    evaluate_corrupted(light, split, tuple(CORRUPTIONS), batch=3)
    assert split.decoded == [0, 1, 2, 3]


def test_what_a_photo_looks_like_does_not_depend_on_its_batch():
    found = [
        evaluate_corrupted(fickle, _TwoGreys(), ("noise", "occlusion"), batch=batch).summary()
        for batch in (1, 3, 4)
    ]
    assert found[0] == found[1] == found[2]


def _in_two_processes():
    split = _TwoGreys()
    with open_mesh() as mesh:
        found = evaluate_corrupted(fickle, split, ("noise", "jpeg"), batch=3, mesh=mesh)
    return found.summary(), [int(index) for index in split.decoded]


@pytest.mark.slow
def test_two_processes_share_the_photos_and_come_to_the_result_of_one():
    wanted = evaluate_corrupted(fickle, _TwoGreys(), ("noise", "jpeg")).summary()
    assert on_ranks(2, _in_two_processes) == [(wanted, [0, 1]), (wanted, [2, 3])]


# The command


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return eight_classes.prepared(tmp_path_factory.mktemp("eight"))


@pytest.fixture(scope="module")
def model(data):
    return eight_classes.model(data.parent / "model.safetensors", data, seed=0)


def evaluate(*words):
    return CliRunner().invoke(main, ["evaluate", *map(str, words)])


def test_the_command_prints_a_table_and_writes_json_and_curves(model, data, tmp_path):
    pytest.importorskip("matplotlib", reason="curves need the extra plots")
    file, plot = tmp_path / "result.json", tmp_path / "curves.svg"
    words = ("--corrupt", "jpeg,occlusion", "--views", "centre", "--json", file, "--plot", plot)
    done = evaluate(model, "--data", data, *words)
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    split = Dataset(data).split("val")
    photos = split.photos(np.arange(len(split)))
    spoilt = [corrupted(p, "jpeg", severity=5, index=index) for index, p in enumerate(photos)]
    answers = eight_classes.answers(model, np.stack(spoilt), "centre")
    wanted = eight_classes.errors(answers, split.labels)
    for name, value in wanted.items():
        assert summary["corruptions"]["jpeg"][name][4] == pytest.approx(value, abs=1e-5)
    rows = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("| ")]
    assert rows == ["top-1", "clean", "jpeg", "occlusion", "mean"]
    written = json.loads(file.read_text())
    assert {name: written[name] for name in summary} == summary
    assert [row["photos"] for row in written["classes"]] == [3] * 8
    assert "pillow" in written["versions"]
    assert written["chance_top1_error"] == 0.875
    assert "occlusion" in plot.read_text()


def test_clean_photos_give_what_they_give_without_corruptions(model, data):
    words = (model, "--data", data, "--views", "centre")
    alone, spoilt = (
        json.loads(evaluate(*words, *more).stdout.splitlines()[-1])
        for more in ((), ("--corrupt", "blur"))
    )
    assert {name: spoilt[name] for name in alone} == alone


def test_without_a_name_every_corruption_is_meant(model, data):
    command = main.commands["evaluate"]
    words = [str(model), "--data", str(data), "--corrupt"]
    assert command.make_context("evaluate", words).params["corrupt"] == "all"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--corrupt", "fog"), 1, "There is no corruption 'fog'"),
        (("--corrupt", "blur", "--plot", "curves.pdf"), 1, "A plot is a .png or .svg file"),
        (("--corrupt", "blur", "--weights", "equal"), 2, "--weights belongs to an average"),
    ],
)
def test_what_can_not_be_done_is_one_sentence(model, data, words, code, sentence):
    done = evaluate(model, "--data", data, *words)
    assert done.exit_code == code
    assert sentence in done.stderr


def test_corruptions_are_of_one_model(model, data):
    done = evaluate(model, model, "--data", data, "--corrupt", "blur")
    assert done.exit_code == 2
    assert "--corrupt takes one model" in done.stderr


# The figure


def made_up():
    rows = {"blur": [0.5, 0.6, 0.7, 0.8, 0.9], "noise": [0.45, 0.5, 0.5, 0.55, 0.6]}
    return {
        "top1_error": 0.4,
        "corruptions": {name: {"top1_error": errors} for name, errors in rows.items()},
    }


def test_the_figure_has_a_line_for_each_corruption_and_a_dashed_one_for_clean_photos():
    pytest.importorskip("matplotlib", reason="curves need the extra plots")
    blur, noise, clean = figure_of("A network", made_up()).axes[0].lines
    assert blur.get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert list(blur.get_ydata()) == pytest.approx([50, 60, 70, 80, 90])
    assert list(noise.get_ydata()) == pytest.approx([45, 50, 50, 55, 60])
    assert list(clean.get_ydata()) == pytest.approx([40, 40])
    assert [line.get_linestyle() for line in (blur, noise, clean)] == ["-", "-", "--"]


def test_the_figure_says_of_which_photos_and_views_it_is_and_where_chance_is():
    pytest.importorskip("matplotlib", reason="curves need the extra plots")
    about = {"views": "ten", "photos": 2500, "chance_top1_error": 0.98}
    axes = figure_of("A network", made_up() | about).axes[0]
    assert axes.get_title() == "A network\nten views, 2,500 photos"
    assert axes.lines[-1].get_label() == "chance, 98 %"
    assert list(axes.lines[-1].get_ydata()) == pytest.approx([98, 98])


def test_the_same_figures_make_the_same_file(tmp_path):
    pytest.importorskip("matplotlib", reason="curves need the extra plots")
    for name in ("one.svg", "two.svg"):
        draw_robustness("A network", made_up(), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
