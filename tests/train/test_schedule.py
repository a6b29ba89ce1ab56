from train.recipe import ScheduleConfig
from train.schedule import Schedule


def factors(schedule, errors):
    seen = []
    for error in errors:
        if schedule.finished:
            break
        seen.append(round(schedule.factor, 9))
        schedule.after_epoch(error)
    return seen


def test_the_rate_is_cut_when_the_error_stops_improving():
    schedule = Schedule(ScheduleConfig(patience=2))
    assert factors(schedule, [0.9, 0.8, 0.8, 0.8, 0.7, 0.7]) == [1, 1, 1, 1, 0.1, 0.1]


def test_an_improvement_starts_the_patience_anew():
    schedule = Schedule(ScheduleConfig(patience=2))
    assert factors(schedule, [0.9, 0.95, 0.8, 0.85, 0.7, 0.75]) == [1] * 6


def test_after_three_cuts_the_next_plateau_ends_the_run():
    schedule = Schedule(ScheduleConfig(patience=1))
    assert factors(schedule, [0.5] * 20) == [1, 1, 0.1, 0.01, 0.001]
    assert schedule.finished


def test_listed_epochs_are_the_first_with_the_lower_rate():
    schedule = Schedule(ScheduleConfig(kind="epochs", cut_at=(3, 5)))
    assert factors(schedule, [0.5] * 6) == [1, 1, 0.1, 0.1, 0.01, 0.01]
    assert not schedule.finished
