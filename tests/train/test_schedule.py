"""Rates at both sides of every boundary; numbers worked by hand."""

import math

import pytest

from train.recipe import Conv1Config, Recipe, ScheduleConfig
from train.recipes import modern, net145, net170, paper
from train.schedule import Moment, Plateau, Rates, rates


def recipe(schedule, **fields):
    return Recipe(name="x", **{"lr": 1.0, "bias_lr": 1.0, "schedule": schedule} | fields)


def factors(schedule, epochs, **fields):
    """The factor at the beginning of the epochs 1, 2, ..."""
    chosen = recipe(schedule, **fields)
    return [rates(chosen, Moment(epoch)).weights for epoch in range(1, epochs + 1)]


def moment(passed, *, steps=1_000_000):
    """The moment after so many epochs."""
    return Moment(int(passed) + 1, round(passed % 1 * steps), steps)


# Plateau [P §5]


def followed(schedule, errors):
    """The factor of each epoch whose validation error is given, until the run ends."""
    plateau, seen = Plateau(schedule), []
    for number, error in enumerate(errors, 1):
        if plateau.finished:
            break
        seen.append(rates(recipe(schedule), Moment(number), cuts=plateau.done_cuts).weights)
        plateau.after_epoch(error)
    return pytest.approx(seen), plateau


def test_the_rate_is_cut_when_the_error_stops_improving():
    seen, _ = followed(ScheduleConfig(patience=2), [0.9, 0.8, 0.8, 0.8, 0.7, 0.7])
    assert seen == [1, 1, 1, 1, 0.1, 0.1]


def test_an_improvement_starts_the_patience_anew():
    seen, _ = followed(ScheduleConfig(patience=2), [0.9, 0.95, 0.8, 0.85, 0.7, 0.75])
    assert seen == [1] * 6


def test_a_cut_starts_the_patience_anew():
    seen, _ = followed(ScheduleConfig(patience=2), [0.9] * 7)
    assert seen == [1, 1, 1, 0.1, 0.1, 0.01, 0.01]


def test_after_the_last_cut_the_next_plateau_ends_the_run():
    seen, plateau = followed(ScheduleConfig(patience=1, cuts=2, factor=0.5), [0.5] * 20)
    assert seen == [1, 1, 0.5, 0.25]
    assert plateau.finished


def test_the_paper_s_rate_is_divided_by_ten_three_times_and_then_the_run_ends():
    """Patience 5: an error that never improves after epoch 1 cuts before 7, 12 and 17."""
    plateau, seen = Plateau(paper().schedule), []
    while not plateau.finished:
        found = rates(paper(), Moment(len(seen) + 1), cuts=plateau.done_cuts)
        assert found.biases == found.conv1_weights == found.conv1_biases == found.weights
        seen.append(found.weights)
        plateau.after_epoch(0.5)
    assert seen == pytest.approx([0.01] * 6 + [0.001] * 5 + [0.0001] * 5 + [0.00001] * 5)


def test_other_schedules_do_not_heed_the_error():
    plateau = Plateau(ScheduleConfig(kind="constant"))
    for _ in range(30):
        plateau.after_epoch(0.5)
    assert plateau == Plateau(ScheduleConfig(kind="constant"))


# Listed epochs, constant


def test_listed_epochs_are_the_first_with_the_lower_rate():
    schedule = ScheduleConfig(kind="epochs", cut_at=(3, 5), factor=0.5)
    assert factors(schedule, 6) == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_a_listed_epoch_has_the_lower_rate_from_its_first_step_on():
    chosen = recipe(ScheduleConfig(kind="epochs", cut_at=(3,)))
    assert rates(chosen, Moment(2, 99, 100)).weights == 1
    assert rates(chosen, Moment(3, 0, 100)).weights == pytest.approx(0.1)


def test_a_constant_rate_stays():
    assert factors(ScheduleConfig(kind="constant"), 200) == [1] * 200


# Geometric steps [S src/lr.cu]


@pytest.mark.parametrize(
    ("before", "last", "next_"),
    [
        (0.25, 1, 0.1587401),  # the third root of 1 / 250
        (0.5, 0.1587401, 0.0251984),
        (0.75, 0.0251984, 0.004),
    ],
)
def test_a_boundary_between_geometric_steps_belongs_to_the_earlier_one(before, last, next_):
    chosen = recipe(ScheduleConfig(kind="dexp", reduction=250, steps=4), epochs=8)
    assert rates(chosen, moment(8 * before)).weights == pytest.approx(last, rel=1e-6)
    assert rates(chosen, moment(8 * before + 1e-6)).weights == pytest.approx(next_, rel=1e-6)


def test_the_first_and_the_last_moment_have_the_first_and_the_last_rate():
    chosen = recipe(ScheduleConfig(kind="dexp", reduction=10, steps=2), epochs=8)
    assert rates(chosen, Moment(1, 0, 100)).weights == 1
    assert rates(chosen, Moment(8, 99, 100)).weights == pytest.approx(0.1)
    assert rates(chosen, Moment(20)).weights == pytest.approx(0.1)


def test_boundaries_that_no_fraction_meets_belong_to_the_earlier_step_too():
    """3 epochs of 7 steps in 7 parts: each part is 3 steps long, and one step more is on time."""
    chosen = recipe(ScheduleConfig(kind="dexp", reduction=64, steps=7), epochs=3)
    seen = [rates(chosen, Moment(1 + n // 7, n % 7, 7)).weights for n in range(21)]
    expected = [2.0 ** -max(0, math.ceil(n / 3) - 1) for n in range(21)]
    assert seen == pytest.approx(expected)


# Cosine and warm-up


@pytest.mark.parametrize(
    ("passed", "factor"), [(0, 1), (3, 0.75), (4.5, 0.5), (6, 0.25), (9, 0), (12, 0)]
)
def test_half_a_cosine_leads_from_1_to_0(passed, factor):
    """0, 60, 90, 120 and 180 degrees."""
    chosen = recipe(ScheduleConfig(kind="cosine"), epochs=9)
    assert rates(chosen, moment(passed)).weights == pytest.approx(factor, abs=1e-12)


def test_in_warm_up_the_rate_rises_step_by_step_and_reaches_its_height_with_the_last():
    chosen = recipe(ScheduleConfig(kind="constant", warm_up=2))
    seen = [rates(chosen, Moment(1 + n // 4, n % 4, 4)).weights for n in range(10)]
    assert seen == [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1, 1, 1]


def test_warm_up_lowers_what_the_schedule_would_give():
    schedule = ScheduleConfig(kind="epochs", cut_at=(2,), factor=0.5, warm_up=4)
    assert factors(schedule, 5) == [0.25, 0.25, 0.375, 0.5, 0.5]


# Biases and conv1


def test_biases_follow_the_weights_unless_they_have_a_schedule():
    schedule = ScheduleConfig(kind="epochs", cut_at=(2,))
    together = recipe(schedule, bias_lr=2.0)
    assert [rates(together, Moment(e)).biases for e in (1, 2)] == pytest.approx([2, 0.2])
    apart = recipe(schedule, bias_lr=2.0, bias_schedule=ScheduleConfig(kind="constant"))
    assert [rates(apart, Moment(e)).biases for e in (1, 2)] == [2, 2]
    cut = recipe(ScheduleConfig(), bias_lr=2.0, bias_schedule=ScheduleConfig(kind="constant"))
    assert rates(cut, Moment(9), cuts=2) == Rates(*map(pytest.approx, (0.01, 2, 0.01, 2)))


def test_conv1_learns_slowly_and_then_not_at_all():
    conv1 = Conv1Config(slow_at=3, slow_factor=0.25, frozen_at=5)
    chosen = recipe(ScheduleConfig(kind="constant"), bias_lr=2.0, conv1=conv1)
    seen = [rates(chosen, Moment(epoch, 0, 9)) for epoch in range(1, 7)]
    assert [found.conv1_weights for found in seen] == [1, 1, 0.25, 0.25, 0, 0]
    assert [found.conv1_biases for found in seen] == [2, 2, 2, 2, 0, 0]
    assert {(found.weights, found.biases) for found in seen} == {(1, 2)}


# The recipes of 2012 [S layer-params-145.cfg:165-182, layer-params-170.cfg]


@pytest.mark.parametrize(
    ("epochs", "weights", "conv1_weights", "conv1_biases", "noise"),
    [
        ((1, 24), 1e-2, 1e-2, 0.02, 0.1),
        ((25, 50), 1e-3, 1e-3, 0.02, 0.1),
        ((51, 66), 1e-4, 1e-4, 0.02, 0.1),
        ((67, 71), 1e-4, 1e-5, 0.02, 0),
        ((72, 78), 1e-4, 0, 0, 0),
        ((79, 90), 1e-5, 0, 0, 0),
    ],
)
def test_net145_s_rates_at_both_ends_of_every_stage(
    epochs, weights, conv1_weights, conv1_biases, noise
):
    for epoch in epochs:
        for step in (0, 10_009):
            found = rates(net145(), Moment(epoch, step, 10_010))
            assert found.weights == pytest.approx(weights, rel=1e-12)
            assert found.biases == 0.02  # to the end
            assert found.conv1_weights == pytest.approx(conv1_weights, rel=1e-12)
            assert found.conv1_biases == conv1_biases
        assert net145().noise.at(epoch).coefficient == noise


@pytest.mark.parametrize(
    ("passed", "weights", "biases"),
    [
        (0, 0.01, 0.02),
        (23.75, 0.01, 0.02),
        (23.7501, 0.001587401, 0.02),
        (47.5, 0.001587401, 0.02),
        (47.5001, 0.000251984, 0.002),
        (71.25, 0.000251984, 0.002),
        (71.2501, 0.00004, 0.002),
        (94.9999, 0.00004, 0.002),
    ],
)
def test_net170_s_rates_on_quarters_and_halves_of_95_epochs(passed, weights, biases):
    found = rates(net170(), moment(passed))
    assert found.weights == pytest.approx(weights, rel=1e-6)
    assert found.biases == pytest.approx(biases, rel=1e-12)


def test_net170_s_conv1_learns_as_fast_as_the_others_until_it_is_frozen_in_epoch_74():
    before, after = rates(net170(), Moment(73, 99, 100)), rates(net170(), Moment(74, 0, 100))
    assert (before.conv1_weights, before.conv1_biases) == (before.weights, before.biases)
    assert (after.conv1_weights, after.conv1_biases) == (0, 0)
    assert after.weights == pytest.approx(0.00004)


def test_net170_s_noise_ends_with_epoch_67():
    assert net170().noise.at(67).coefficient == 0.1
    assert net170().noise.at(68).coefficient == 0


# Ours


@pytest.mark.parametrize(
    ("passed", "rate"),
    [
        # 100 steps an epoch; .02, warmed up over 5 epochs, times cos(90 degrees * passed / 90)^2
        (0, 0.02 * 0.01 / 5),
        (0.99, 0.02 * 1 / 5 * math.cos(math.radians(0.99)) ** 2),
        (2.49, 0.02 * 2.5 / 5 * math.cos(math.radians(2.49)) ** 2),
        (5, 0.02 * math.cos(math.radians(5)) ** 2),
        (30, 0.015),
        (45, 0.01),
        (60, 0.005),
        (89.99, 0.02 * math.cos(math.radians(89.99)) ** 2),
    ],
)
def test_modern_warms_up_and_then_follows_half_a_cosine(passed, rate):
    found = rates(modern(), moment(passed, steps=100))
    assert found.weights == pytest.approx(rate, rel=1e-9)
    assert found.biases == found.conv1_weights == found.conv1_biases == found.weights
    assert found.weights > 0
