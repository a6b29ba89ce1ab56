"""Several networks in `alexnet-train evaluate`: averages with equal, given and tuned weights."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from alexnet.checkpoint import load_checkpoint
from alexnet.errors import AlexNetError
from export.graph import write_onnx
from tests.train import eight_classes
from train.averaging import evaluate_average, mean_of, parse_weights, tune, tuning_half
from train.cli import main
from train.dataset import Dataset


def evaluate(*words):
    """`alexnet-train evaluate` in this process: its summary, its table, its words."""
    done = CliRunner().invoke(main, ["evaluate", *map(str, words)])
    summary = json.loads(done.stdout.splitlines()[-1]) if done.exit_code == 0 else None
    return done, summary


def close(found, wanted):
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=1e-5), name


# The mean


def test_the_loss_of_an_average_is_of_the_averaged_probabilities():
    # As in the oracle of several views: (.9, .1) and (.2, .8) make (.55, .45).
    mean = mean_of(np.array([[[0.9, 0.1]], [[0.2, 0.8]]]), (1, 1))
    assert mean.tolist() == [[pytest.approx(0.55), pytest.approx(0.45)]]
    assert -math.log(mean[0, 0]) == pytest.approx(0.597837, abs=1e-6)


@pytest.mark.parametrize("weights", [(0.6, 0.4), (3, 2)])
def test_weights_count_in_proportion(weights):
    mean = mean_of(np.array([[[0.9, 0.1]], [[0.2, 0.8]]]), weights)
    assert mean.tolist() == [[pytest.approx(0.62), pytest.approx(0.38)]]


def test_networks_that_agree_have_their_own_answer_as_the_mean():
    answers = np.random.default_rng(0).dirichlet(np.ones(9), 20).astype(np.float32)
    assert (mean_of(np.stack([answers] * 3), (1, 1, 1)).argsort(1) == answers.argsort(1)).all()


@pytest.mark.parametrize(
    ("text", "weights"), [("equal", "equal"), ("tuned", "tuned"), ("0.6,0.4", (0.6, 0.4))]
)
def test_weights_are_equal_tuned_or_given(text, weights):
    assert parse_weights(text, 2) == weights


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0.5", "--weights has 1 number(s) for 2 models."),
        ("0.5,x", "--weights takes equal, tuned, or numbers like 0.6,0.4, not '0.5,x'."),
        ("1,-1", "Weights are numbers from 0 on, and not all of them are 0."),
        ("0,0", "Weights are numbers from 0 on, and not all of them are 0."),
        ("1,nan", "Weights are numbers from 0 on, and not all of them are 0."),
    ],
)
def test_other_weights_are_refused(text, sentence):
    with pytest.raises(AlexNetError) as caught:
        parse_weights(text, 2)
    assert str(caught.value) == sentence


# Tuning


def test_half_of_each_class_is_for_tuning():
    labels = np.array([2, 0, 1, 0, 2, 1, 0, 1, 2, 0, 1, 2])
    half = tuning_half(labels)
    assert [int((labels[half] == label).sum()) for label in range(3)] == [2, 2, 2]
    assert (tuning_half(labels) == half).all()
    assert (tuning_half(labels, seed=1) != half).any()


def test_classes_of_one_photo_go_to_either_half():
    assert tuning_half(np.arange(7)).sum() == 4


def test_one_photo_has_no_halves():
    with pytest.raises(AlexNetError, match="less than two photos"):
        tuning_half(np.array([3]))


def test_a_coefficient_moves_no_further_than_errors_ask_for():
    # One photo of class 0. With coefficients a and b its probability is ahead where
    # .04 a + .25 b > .192 a + .15 b, that is where a < .66 b; else it is the last of six.
    answers = np.array([[[0.04] + [0.192] * 5], [[0.25] + [0.15] * 5]])
    assert tune(answers, np.array([0])) == (0.3, 0.5)


def test_of_equal_top_5_errors_the_fewer_top_1_errors_count():
    # Of three classes five are never wrong. Class 0 is first where .44 a < .1 b.
    answers = np.array([[[0.04, 0.48, 0.48]], [[0.4, 0.3, 0.3]]])
    assert tune(answers, np.array([0])) == (0.1, 0.5)


def test_coefficients_that_change_nothing_stay_equal():
    answers = np.array([[[0.7, 0.2, 0.1]], [[0.6, 0.3, 0.1]]])
    assert tune(answers, np.array([0])) == (0.5, 0.5)


def test_tuned_weights_are_not_worse_than_equal_ones_on_the_photos_they_were_tuned_on():
    random = np.random.default_rng(1)
    better = 0
    for _ in range(5):
        answers, labels = random.dirichlet(np.ones(12), (3, 60)), random.integers(0, 12, 60)
        answers[0, np.arange(60), labels] += 0.1  # the first network knows something
        tuned, equal = (
            eight_classes.errors(mean_of(answers, weights), labels)["top5_error"]
            for weights in (tune(answers, labels), (1, 1, 1))
        )
        assert tuned <= equal
        better += tuned < equal
    assert better


class Made:
    """Photos that are numbers, and three networks' answers to them."""

    def __init__(self):
        random = np.random.default_rng(4)
        self.labels = random.integers(0, 9, 31)
        self.answers = random.dirichlet(np.ones(9), (3, 31)).astype(np.float32)
        self.decoded = 0

    def __len__(self):
        return 31

    def photos(self, indices):
        self.decoded += len(indices)
        return np.asarray(indices)

    @property
    def runs(self):
        return [lambda rows, table=table: table[rows] for table in self.answers]


def test_each_photo_is_decoded_once_for_all_networks():
    made = Made()
    evaluate_average(made.runs, made, batch=4)
    assert made.decoded == 31


def test_tuned_weights_are_measured_on_the_photos_that_they_have_not_seen():
    made = Made()
    found = evaluate_average(made.runs, made, weights="tuned", batch=4)
    half = tuning_half(made.labels)
    assert found.tuned_on == half.sum() == 16
    assert sum(found.weights) == pytest.approx(1)
    wanted = tune(made.answers[:, half], made.labels[half])
    assert found.weights == pytest.approx(np.array(wanted) / sum(wanted))
    others, labels = made.answers[:, ~half], made.labels[~half]
    close(found.average.summary(), eight_classes.errors(mean_of(others, wanted), labels))
    close(found.equal.summary(), eight_classes.errors(others.mean(0), labels))
    for alone, answers in zip(found.alone, others, strict=True):
        close(alone.summary(), eight_classes.errors(answers, labels))


# The command


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return eight_classes.prepared(tmp_path_factory.mktemp("eight"))


@pytest.fixture(scope="module")
def models(data):
    return [
        eight_classes.model(data.parent / f"{seed}.safetensors", data, seed=seed) for seed in (0, 1)
    ]


def test_the_command_averages_probabilities_with_equal_weights(models, data, tmp_path):
    done, summary = evaluate(*models, "--data", data, "--json", tmp_path / "result.json")
    answers = np.stack([eight_classes.probabilities(model, data) for model in models])
    labels = Dataset(data).split("val").labels
    close(summary, eight_classes.errors(answers.mean(0), labels))
    for row, alone in zip(summary["models"], answers, strict=True):
        close(row, eight_classes.errors(alone, labels))
        assert (row["views"], row["weight"], row["photos"]) == ("ten", 0.5, 24)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row.split()[1] for row in rows] == ["model", *map(str, models), "average"]
    written = json.loads((tmp_path / "result.json").read_text())
    assert {name: written[name] for name in summary} == summary
    assert [row["photos"] for row in written["classes"]] == [3] * 8


def test_given_weights_are_shares_of_their_sum(models, data):
    _, summary = evaluate(*models, "--data", data, "--weights", "3,1", "--views", "centre")
    answers = [eight_classes.probabilities(model, data, "centre") for model in models]
    labels = Dataset(data).split("val").labels
    close(summary, eight_classes.errors(0.75 * answers[0] + 0.25 * answers[1], labels))
    assert [row["weight"] for row in summary["models"]] == [0.75, 0.25]


def test_tuned_weights_are_said_to_be_so_in_table_and_json(models, data):
    done, summary = evaluate(*models, "--data", data, "--weights", "tuned")
    said = " ".join(done.stdout.split())
    assert (
        "weights tuned for top-5 error on 12 of them, held out, and errors of the other 12" in said
    )
    assert "| average, equal weights " in said
    assert "| average, tuned weights " in said
    assert (summary["photos"], summary["tuned_on"], summary["tuning_seed"]) == (12, 12, 0)
    assert summary["equal_weights"]["photos"] == 12


def test_every_model_keeps_its_own_backend_and_views(models, data, tmp_path):
    graph = tmp_path / "centre.onnx"
    write_onnx(load_checkpoint(models[1]), graph, views="centre")
    _, summary = evaluate(models[0], graph, "--data", data)
    assert [row["views"] for row in summary["models"]] == ["ten", "centre"]
    answers = [eight_classes.probabilities(models[0], data)]
    answers.append(eight_classes.probabilities(models[1], data, "centre"))
    close(summary, eight_classes.errors(sum(answers) / 2, Dataset(data).split("val").labels))


def test_models_of_other_photos_or_classes_are_not_averaged(models, data, tmp_path):
    larger = eight_classes.model(tmp_path / "a.safetensors", data, seed=0, size=56, crop=48)
    done, _ = evaluate(models[0], larger, "--data", data)
    assert done.exit_code == 1
    said = f"{models[0]} and {larger} can't be averaged: their photos have 48 and 56 pixels a side."
    assert said in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--weights", "0.5,0.5"), "--weights belongs to an average"),
        (("--plot", "x.png"), "--plot draws what --corrupt measures"),
    ],
)
def test_options_of_averages_and_corruptions_do_not_stand_alone(models, data, words, sentence):
    done, _ = evaluate(models[0], "--data", data, *words)
    assert done.exit_code == 2
    assert sentence in done.stderr


def test_weights_that_do_not_fit_the_models_are_one_sentence(models, data):
    done, _ = evaluate(*models, "--data", data, "--weights", "1,2,3")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].endswith("--weights has 3 number(s) for 2 models.")
