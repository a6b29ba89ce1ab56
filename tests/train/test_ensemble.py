"""The experiment `ensemble`: one network against averages of several."""

import itertools
import json
import time

import numpy as np
import pytest

from tests.train import eight_classes
from train.experiments.ensemble import EXPERIMENT, Settings, compared
from train.experiments.experiment import Task, carry_out
from train.experiments.pages import draw


def made_up(count, *, photos=60, classes=9, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, photos)
    answers = random.dirichlet(np.ones(classes), (count, photos)).astype(np.float32)
    answers[:, np.arange(photos), labels] += 0.15
    return list(answers), labels


def result_of(found, *, seeds=(0, 1, 2, 3, 4), done=None):
    """A result.json around what was found."""
    done = list(seeds) if done is None else done
    return {
        "settings": {"seeds": list(seeds), "epochs": 8},
        "data": {"photos": {"train": 25000, "val": 2500}, "size": 64},
        "found": {"classes": 50, "seeds": done, **found},
        "complete": len(done) == len(seeds),
    }


def test_every_subset_of_every_size_is_averaged():
    answers, labels = made_up(4)
    found = compared(answers, labels)["averages"]
    assert [(row["networks"], row["subsets"]) for row in found] == [(1, 4), (2, 6), (3, 4), (4, 1)]
    for row in found:
        errors = [
            eight_classes.errors(np.mean(chosen, axis=0, dtype=np.float64), labels)
            for chosen in itertools.combinations(answers, row["networks"])
        ]
        for name in ("top1_error", "top5_error"):
            values = [error[name] for error in errors]
            assert row[name]["mean"] == pytest.approx(np.mean(values), abs=1e-6)
            assert (row[name]["least"], row[name]["most"]) == pytest.approx(
                (min(values), max(values)), abs=1e-6
            )


def test_the_gain_is_of_all_together_over_one_with_its_interval_over_the_photos():
    # Two networks, six classes, four photos of class 0. The first network is right on photos 1 and
    # 2, the second on 1 and 3, both surely enough for the average; nobody is right on photo 4.
    sure, unsure = [0.8, 0.2, 0, 0, 0, 0], [0.4, 0.6, 0, 0, 0, 0]
    answers = [np.array([sure, sure, unsure, unsure]), np.array([sure, unsure, sure, unsure])]
    found = compared(answers, np.zeros(4, dtype=np.int64))
    # Photo by photo the average gains 0, .5, .5, 0: a mean of .25, a deviation of 1/sqrt(12), an
    # error of a half of that, and Student's t for three degrees of freedom is 3.182.
    assert found["gain"]["top1_error"]["mean"] == 0.25
    assert found["gain"]["top1_error"]["half"] == pytest.approx(3.182 / 12**0.5 / 2, abs=1e-3)
    assert found["gain"]["top5_error"] == {"mean": 0.0, "half": 0.0}


def test_tuned_weights_are_measured_on_each_half_with_the_other_halfs_weights():
    # One network knows all, another is always wrong and surer.
    labels = np.arange(16) % 8
    knows, wrong = np.full((16, 8), 0.05), np.full((16, 8), 0.0)
    knows[np.arange(16), labels] = 0.65
    wrong[np.arange(16), (labels + 1) % 8] = 1.0
    found = compared([knows, wrong], labels)
    assert found["averages"][1]["top1_error"]["mean"] == 1
    assert found["tuned"]["top1_error"] == 0
    for one, other in found["tuned"]["coefficients"]:
        assert other < 0.6 * one + 1e-9


def test_one_network_has_no_average():
    answers, labels = made_up(1)
    found = compared(answers, labels)
    assert (found["gain"], found["tuned"]) == (None, None)


def test_the_text_stands_beside_the_papers_table():
    spread = {"mean": 0.5, "least": 0.48, "most": 0.53}
    even = {"mean": 0.2, "least": 0.2, "most": 0.2}
    found = {
        "averages": [
            {"networks": 1, "subsets": 5, "top1_error": spread, "top5_error": even},
            {"networks": 5, "subsets": 1, "top1_error": even, "top5_error": even},
        ],
        "gain": {
            "top1_error": {"mean": 0.03, "half": 0.01},
            "top5_error": {"mean": 0.002, "half": 0.01},
        },
        "tuned": {"coefficients": [[0.5, 0.25]], "top1_error": 0.47, "top5_error": 0.19},
    }
    text = EXPERIMENT.text(result_of(found))
    for line in (
        "| 1 CNN, mean of 5 | 50.0 % | 48.0 to 53.0 % | 20.0 % | 20.0 to 20.0 % "
        "| 40.7 % / 18.2 % |",
        "| 5 CNNs | 20.0 % |  | 20.0 % |  | 38.1 % / 16.4 % |",
        "| 5 CNNs, weights tuned on held-out photos | 47.0 % |  | 19.0 % |  |  |",
    ):
        assert line in text.splitlines()
    assert "3.0 points of top-1 (95 % interval over the photos 2.0 to 4.0), 6.0 % of the" in text
    assert "Whether averaging helps in both errors can't be told" in text
    assert "Not trained yet" not in text


def test_the_text_says_what_is_missing():
    nothing = {"averages": [], "gain": None, "tuned": None}
    assert "Not trained yet: seed 0, 1, 2, 3, 4." in EXPERIMENT.text(result_of(nothing, done=[]))
    answers, labels = made_up(2)
    text = EXPERIMENT.text(result_of(compared(answers, labels), done=[0, 1]))
    assert "Not trained yet: seed 2, 3, 4." in text
    assert "| 2 CNNs, weights tuned on held-out photos |" in text


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_the_figure_is_drawn_of_however_many_networks_there_are(count, tmp_path):
    pytest.importorskip("matplotlib", reason="figures need the extra plots")
    answers, labels = made_up(count)
    result = result_of(compared(answers, labels), done=list(range(count)))
    for name in ("one.svg", "two.svg"):
        draw(EXPERIMENT, result, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    if count:
        top1 = EXPERIMENT.draw(result).axes[0]
        means = [100 * row["top1_error"]["mean"] for row in result["found"]["averages"]]
        assert list(top1.lines[0].get_ydata()) == pytest.approx(means)


@pytest.mark.parametrize("fields", [{"seeds": ()}, {"seeds": (1, 1)}, {"epochs": 0}])
def test_settings_that_make_no_sense_are_refused(fields):
    with pytest.raises(ValueError, match=r"at least|different"):
        Settings(**fields)


# The whole of it


def task(data, out, **fields):
    return Task(data=data, out=out, settings=Settings(seeds=(0, 1), epochs=3), **fields)


@pytest.fixture(scope="module")
def done(colors, tmp_path_factory):
    """Two networks, and what was found of them."""
    out = tmp_path_factory.mktemp("ensemble")
    return out, carry_out(EXPERIMENT, task(colors, out), command="x")


@pytest.mark.slow
def test_trainings_that_are_there_already_are_taken_and_the_rest_is_missing(done, colors, tmp_path):
    before, whole = done
    for seed in (0, 1):
        (tmp_path / "runs").mkdir(exist_ok=True)
        (tmp_path / "runs" / f"baseline-{seed}").symlink_to(before / "runs" / f"baseline-{seed}")
        part = f"parts/baseline-{seed}.json"
        (tmp_path / "parts").mkdir(exist_ok=True)
        (tmp_path / part).write_bytes((before / part).read_bytes())
        late = task(colors, tmp_path, deadline=time.monotonic())
        result = carry_out(EXPERIMENT, late, command="x")
        assert result["found"]["seeds"] == list(range(seed + 1))
        assert result["complete"] == (seed == 1)
    assert result["found"] == whole["found"]
    assert (result["runs"], result["seconds"]) == (2, whole["seconds"])


@pytest.mark.slow
def test_a_network_alone_has_the_errors_that_its_training_ended_with(done):
    out, result = done
    ends = [json.loads((out / "parts" / f"baseline-{seed}.json").read_text()) for seed in (0, 1)]
    alone = result["found"]["averages"][0]["top1_error"]
    errors = [end["ten_views"]["val_top1_error"] for end in ends]
    assert alone["mean"] == pytest.approx(np.mean(errors), abs=1e-6)
    assert (alone["least"], alone["most"]) == pytest.approx((min(errors), max(errors)), abs=1e-6)


@pytest.mark.slow
def test_answers_are_kept_and_made_anew_only_for_another_network(done, colors):
    out, result = done
    path = out / "probabilities" / "baseline-1.npz"
    with np.load(path) as kept:
        answers, origin = kept["probabilities"], str(kept["origin"])
    others = np.roll(answers, 1, axis=1)
    for said, wanted in ((origin, others), ("another model", answers)):
        np.savez(path, probabilities=others, origin=np.array(said))
        EXPERIMENT.run(task(colors, out))
        with np.load(path) as kept:
            assert (kept["probabilities"] == wanted).all()
            assert str(kept["origin"]) == origin
    path.write_bytes(b"torn")
    assert EXPERIMENT.run(task(colors, out)).figures == result["found"]
