"""What each part of the paper is worth: variants, differences by seed, stopping and going on."""

import time
from dataclasses import replace

import pytest

from alexnet.config import one_gpu
from alexnet.geometry import feature_count, layers
from alexnet.settings import to_dict
from train.experiments import ablations
from train.experiments.ablations import EXPERIMENT, Settings
from train.experiments.experiment import Task
from train.experiments.intervals import Estimate, binomial_half, estimate, student_t
from train.experiments.rates import cuts
from train.experiments.variants import VARIANTS, at_rate, baseline, trial
from train.recipe import ScheduleConfig
from train.recipes import recipe, run_config, stretched

# Intervals


@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622)]
)
def test_student_s_t_is_that_of_the_tables(freedom, t):
    assert student_t(freedom) == pytest.approx(t, abs=5e-5)


def test_an_interval_is_t_times_the_standard_error():
    found = estimate([1.0, 2.0, 3.0])  # standard deviation 1, standard error 1 / sqrt(3)
    assert found.mean == 2
    assert found.half == pytest.approx(4.3027 / 3**0.5, abs=1e-4)
    assert found.sign == 0
    assert found.holds(4.4)
    assert not found.holds(4.5)


def test_a_sign_is_known_when_the_whole_interval_has_it():
    assert estimate([-1.0, -1.1, -0.9]).sign == -1
    assert estimate([1.0, 1.1, 0.9]).sign == 1
    assert estimate([5.0]) == Estimate(mean=5.0, half=None)
    assert estimate([5.0]).sign == 0


def test_one_error_of_a_half_on_2500_photos_is_known_to_two_points():
    assert binomial_half(0.5, 2500) == pytest.approx(1.96 * 0.01, abs=1e-5)


# Variants

PLAIN = baseline(epochs=8, classes=50, seed=3)


def changes(name):
    """What a variant changes, by the paths of the fields."""
    return differences(to_dict(PLAIN), to_dict(VARIANTS[name].change(PLAIN)), "")


def differences(one, other, path):
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = [(f"{path}.{key}".lstrip("."), one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{path}.{n}", *both) for n, both in enumerate(zip(one, other, strict=True))]
    else:
        return {} if one == other else {path: other}
    return {key: value for where, a, b in pairs for key, value in differences(a, b, where).items()}


def sides(config):
    return [layer.shape[1] for layer in layers(config.config) if layer.kind in ("conv", "pool")]


def test_the_baseline_is_mini_by_its_own_recipe():
    own = stretched(recipe("mini"), 8)
    assert run_config("mini", own, classes=50, seed=3) == PLAIN
    assert own.schedule.cut_at == (7, 8)


def test_tanh_takes_the_place_of_every_relu():
    assert changes("tanh") == {
        **{f"network.convs.{number}.steps.0": "tanh" for number in range(5)},
        "network.fc6.nonlinearity": "tanh",
        "network.fc7.nonlinearity": "tanh",
    }


def test_a_rate_of_its_own_goes_with_twice_that_of_the_biases():
    assert differences(to_dict(PLAIN), to_dict(at_rate(PLAIN, 0.003)), "") == {
        "recipe.lr": 0.003,
        "recipe.bias_lr": 0.006,
    }
    tried = trial(PLAIN, 2).recipe
    assert (tried.epochs, tried.schedule) == (2, ScheduleConfig(kind="constant"))


def test_without_normalisation_the_first_two_layers_are_relu_and_pooling():
    found = changes("no-lrn")
    assert found == {
        **{f"network.convs.{number}.steps": ["relu", "pool"] for number in (0, 1)},
        **{f"network.convs.{number}.lrn": None for number in (0, 1)},
    }


def test_pooling_without_overlap_keeps_the_maps_of_147():
    found = changes("plain-pooling")
    assert found == {
        **{f"network.convs.{number}.pool.size": 2 for number in (0, 1, 4)},
        "network.convs.1.pad.0": 1,
        "network.convs.1.pad.1": 1,
        "network.convs.4.pad.0": 0,
        "network.convs.4.pad.1": 0,
    }
    config = VARIANTS["plain-pooling"].change(PLAIN)
    assert sides(PLAIN) == [55, 27, 27, 13, 13, 13, 13, 6]
    assert sides(config) == [55, 28, 26, 13, 13, 13, 11, 6]
    assert feature_count(config.config) == feature_count(PLAIN.config)


def test_one_column_is_to_mini_what_one_gpu_is_to_the_paper_s_network():
    network = VARIANTS["one-column"].change(PLAIN).network
    assert network.columns == 1
    assert [4 * conv.maps for conv in network.convs] == [c.maps for c in one_gpu().network.convs]
    assert {conv.reads for conv in network.convs} == {"all"}
    assert network.convs[2].init_std == pytest.approx((2 / (32 * 9)) ** 0.5, rel=2e-3)
    same = replace(
        network, columns=2, convs=tuple(
            replace(conv, maps=plain.maps, reads=plain.reads, init_std=plain.init_std)
            for conv, plain in zip(network.convs, PLAIN.network.convs, strict=True)
        ),
    )  # fmt: skip
    assert same == PLAIN.network


def test_dropout_and_noise_are_switched_off_and_nothing_else():
    assert changes("no-dropout") == {"network.dropout.rate": 0.0}
    assert changes("no-noise") == {"recipe.noise.coefficient": 0.0}


@pytest.mark.parametrize("field", ["seeds", "variants", "lrs"])
def test_settings_name_nothing_twice_and_something_at_least(field):
    one = getattr(Settings(), field)[0]
    for wrong in ((), (one, one)):
        with pytest.raises(ValueError, match=field):
            Settings(**{field: wrong})


# Trainings that are there already: what is made of them


def part(*, top1, top5=0.1, centre=0.7, train_loss=2.0):
    """A finished training with these figures."""
    views = {"val_loss": 1.5, "val_top5_error": top5}
    epoch = views | {"seconds": 60.0, "train_error": 0.6, "train_loss": train_loss}
    return {
        "epochs": [epoch | {"val_top1_error": 0.9}, epoch | {"val_top1_error": centre}],
        "ten_views": views | {"val_top1_error": top1},
    }


@pytest.fixture
def task(colors, tmp_path):
    settings = Settings(seeds=(4, 7), variants=("tanh", "one-column"), lrs=(0.01, 0.001))
    return Task(data=colors, out=tmp_path, settings=settings, deadline=time.monotonic() - 1)


@pytest.fixture
def tried(task):
    """The trials: tanh learns faster at the lower rate."""
    for name, losses in (("baseline", (3.0, 2.5)), ("tanh", (2.9, 2.8))):
        for lr, loss in zip((0.01, 0.001), losses, strict=True):
            task.keep(f"{name}-lr-{lr:g}", part(top1=0.9, train_loss=loss))
    return task


def test_differences_are_paired_by_seed(tried):
    errors = {"baseline-4": 0.50, "baseline-7": 0.60, "tanh-4": 0.52, "tanh-7": 0.58}
    for name, error in (errors | {"one-column-4": 0.53, "one-column-7": 0.65}).items():
        tried.keep(name, part(top1=error))
    found = EXPERIMENT.run(tried)
    assert found.complete
    assert (found.runs, found.seconds) == (10, 10 * 120)
    points = {name: row["top1"] for name, row in found.figures["differences"].items()}
    assert points["tanh"]["values"] == [2, -2]
    assert points["tanh"]["mean"] == 0
    assert points["tanh"]["half"] == pytest.approx(12.7062 * 2, rel=1e-4)
    assert points["one-column"]["values"] == [3, 5]
    assert points["one-column"]["half"] == pytest.approx(12.7062, rel=1e-4)
    assert points["one-view"]["values"] == [20, 10]  # 70 % with the centre view


def test_tanh_has_the_rate_with_which_it_learns_fastest(tried):
    found = EXPERIMENT.run(tried).figures
    assert found["rates"] == {"tanh": 0.001}
    assert found["trials"]["tanh"] == {"0.01": 2.9, "0.001": 2.8}
    tried.keep("tanh-lr-0.001", {"diverged": "The training tanh-lr-0.001 diverged."})
    assert EXPERIMENT.run(tried).figures["rates"] == {"tanh": 0.01}


def test_a_part_of_the_trainings_has_whole_seeds(tried, monkeypatch):
    asked = []
    monkeypatch.setattr(ablations, "train_all", lambda task, runs, **how: asked.append(runs) or {})
    EXPERIMENT.run(tried)
    trials, runs = asked
    assert set(trials) == {
        f"{name}-lr-{lr}" for name in ("baseline", "tanh") for lr in (0.01, 0.001)
    }
    assert list(runs) == [
        f"{name}-{s}" for s in (4, 7) for name in ("baseline", "tanh", "one-column")
    ]
    assert runs["baseline-7"] == baseline(epochs=8, classes=3, seed=7)
    assert runs["one-column-4"].seed == 4


def test_nothing_is_trained_at_a_rate_before_all_are_tried(task):
    task.keep("tanh-lr-0.001", part(top1=0.9))
    found = EXPERIMENT.run(task)
    assert not found.complete
    assert found.figures["rates"] == {}
    assert found.runs == 1


def test_a_training_that_diverged_is_left_out_and_named(tried):
    for name in ("baseline-4", "baseline-7", "tanh-4", "tanh-7", "one-column-4"):
        tried.keep(name, part(top1=0.5))
    tried.keep("one-column-7", {"diverged": "The training one-column-7 diverged."})
    found = EXPERIMENT.run(tried)
    assert found.complete
    assert found.figures["diverged"] == ["one-column-7"]
    assert found.figures["differences"]["one-column"]["seeds"] == [4]


def test_variants_have_no_difference_from_a_baseline_that_is_to_come(tried):
    tried.keep("one-column-4", part(top1=0.5))
    found = EXPERIMENT.run(tried)
    assert not found.complete
    assert found.figures["differences"]["one-column"]["seeds"] == []
    text = EXPERIMENT.text(made(no_lrn=[1.0, 2.0]) | {"found": found.figures})
    assert "| one column of half the maps | 0 | to come | to come |" in text


# Whole experiments

TINY = (*("--set=seeds=[0,1]", '--set=variants=["one-column"]'), "--set=epochs=3")


def words(data, out):
    return ["experiment", "ablations", "--data", str(data), "--out", str(out), *TINY]


# What is said


def made(**differences):
    """A result with these differences in points, by seed: of top-1, and half of that of top-5."""
    names = {name.replace("_", "-"): values for name, values in differences.items()}
    views = {"top1": 0.5, "top5": 0.2, "loss": 1.9}
    run = {"ten": views, "centre": views, "train_error": 0.6, "train_loss": 2.3}
    return {
        "settings": {"epochs": 8, "seeds": [0, 1, 2], "lrs": [0.01], "trial_epochs": 2},
        "data": {"photos": {"train": 25000, "val": 2500}, "classes": 50},
        "found": {
            "runs": {name: {"0": dict(run)} for name in ("baseline", *names)},
            "differences": {
                name: {
                    "seeds": [0, 1, 2],
                    **{
                        metric: {"values": points} | vars(estimate(points))
                        for metric, points in (("top1", values), ("top5", [v / 2 for v in values]))
                    },
                }
                for name, values in names.items()
            },
            "rates": {},
            "trials": {},
            "diverged": [],
        },
    }


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        # Standard deviation 0.2, so the interval is 4.3027 * 0.2 / sqrt(3) = 0.50 to either side.
        ("no_lrn", [1.2, 1.4, 1.6], "top-1: worse without the paper's choice, and the interval "
         "holds the paper's number; top-5: worse without the paper's choice, as in the paper, but "
         "by less."),
        ("no_lrn", [2.2, 2.4, 2.6], "top-1: worse without the paper's choice, as in the paper, but "
         "by more; top-5: worse without the paper's choice, and the interval holds the paper's "
         "number."),
        ("one_column", [-1.2, -1.4, -1.6], "**better** without it, against the paper."),
        ("plain_pooling", [0.2, 0.4, 0.6], "not decided: the interval holds 0 and the paper's "
         "number."),
        ("no_noise", [1.2, 1.4, 1.6], "top-1: worse without the paper's choice, as in the paper; "
         "top-5: worse without the paper's choice; the paper has no number for it."),
        ("no_noise", [0.4, 0.4, 0.4], "top-1: worse without the paper's choice, as in the paper, "
         "but by less;"),
        ("no_dropout", [-0.3, 0.0, 0.3], "not decided: the interval holds 0."),
    ],
)  # fmt: skip
def test_a_difference_is_judged_by_its_interval(name, values, said):
    text = EXPERIMENT.text(made(**{name: values}))
    assert f": {said}" in text


def test_a_difference_stands_beside_the_paper_s():
    text = EXPERIMENT.text(made(no_lrn=[1.2, 1.4, 1.6]))
    assert "| no response normalisation | 3 | +1.4 ± 0.5 | +0.7 ± 0.2 | 1.4 and 1.2 (3.3) |" in text
    assert (
        "| baseline | 50.0 % | 50.0 | 20.0 % | 50.0 % | 20.0 % | 1.900 | 60.0 % | -10.0 |" in text
    )
    # 1.96 * sqrt(0.5 * 0.5 / 2500)
    assert "2,500 validation photos are a sample, too" in text
    assert "±2.0 points" in text


def test_what_a_short_training_can_t_show_is_said_where_it_did_not():
    unseen = "What dropout is for is not seen here"
    assert unseen in EXPERIMENT.text(made(no_dropout=[-1.0, -1.1, -0.9]))
    assert unseen not in EXPERIMENT.text(made(no_dropout=[1.0, 1.1, 0.9]))
    both = EXPERIMENT.text(made(no_dropout=[-1.0, -1.1, -0.9], no_noise=[0.1, 0.0, -0.1]))
    assert "What dropout and colour noise are for is not seen here" in both


def test_a_network_that_did_not_learn_is_named():
    result = made(no_lrn=[40.0, 41.0, 42.0])
    result["found"]["runs"]["no-lrn"]["0"]["train_loss"] = 3.912  # the logarithm of 50
    result["found"]["diverged"] = ["no-lrn-1"]
    text = EXPERIMENT.text(result)
    assert "**`no-lrn-0` did not learn**" in text
    assert "`no-lrn-1` did not stay finite" in text


def test_a_rate_of_its_own_and_one_at_an_end_are_said_beside_the_difference():
    result = made(no_dropout=[-1.0, -1.1, -0.9], no_lrn=[1.2, 1.4, 1.6])
    found, settings = result["found"], result["settings"]
    settings["lrs"] = [0.001, 0.003, 0.03]
    found["rates"] = {"no-dropout": 0.001, "no-lrn": 0.003}
    found["trials"] = {name: {"0.001": 3.5, "0.003": 3.4} for name in ("baseline", *found["rates"])}
    text = EXPERIMENT.text(result)
    both = "and the baseline at 0.01: the difference is that of both changes."
    assert f"number for it. It was trained at 0.001, an end of those tried, {both}" in text
    assert f"It was trained at 0.003 {both}" in text
    assert '**The rate of "no dropout", 0.001, is at the end of those that were tried' in text
    assert 'rate of "no response normalisation"' not in text
    assert "| no dropout | **3.50** | 3.40 | diverged |" in text
    assert text.startswith("After 8 epochs, of the 72 that `mini`'s recipe has, differences are of")


def test_the_gap_between_training_and_validation_is_each_network_s_own():
    result = made(no_dropout=[-1.0, -1.1, -0.9])
    result["found"]["runs"]["no-dropout"]["0"]["train_error"] = 0.45
    text = EXPERIMENT.text(result)
    assert "; without dropout 45.0 % and 50.0 %, a gap of +5.0 points where the baseline" in text
    assert "has -10.0. The paper" in text
    assert (
        "| no dropout | 50.0 % | 50.0 | 20.0 % | 50.0 % | 20.0 % | 1.900 | 45.0 % | +5.0 |" in text
    )


@pytest.mark.parametrize(
    ("epochs", "words"),
    [
        (4, "is cut at the start of epoch 4 (the other cut would come after the end)"),
        (5, "is cut at the start of epoch 5 (the other cut would come after the end)"),
        (9, "is cut at the start of epochs 8 and 9"),
        (72, "is cut at the start of epochs 58 and 68"),
    ],
)
def test_cuts_that_take_effect_are_named(epochs, words):
    assert cuts(epochs) == words
