"""Calls are timed in turns."""

import gc
import time
from contextlib import contextmanager

from bench.interleave import Took, interleave


def test_every_round_makes_every_call_once():
    made = []
    calls = [lambda n=n: made.append(n) for n in range(4)]
    times = interleave(calls, count=25, warmup=2)
    assert [len(call) for call in times] == [25] * 4
    rounds = [made[at : at + 4] for at in range(0, len(made), 4)]
    assert len(rounds) == 25 + 2
    assert all(sorted(one) == [0, 1, 2, 3] for one in rounds)


def test_no_call_always_follows_the_same_neighbour():
    made = []
    interleave([lambda n=n: made.append(n) for n in range(3)], count=50, warmup=0)
    followers = {made[at + 1] for at in range(len(made) - 1) if made[at] == 0}
    assert {1, 2} <= followers


def test_the_order_is_the_same_in_every_run():
    def order():
        made = []
        interleave([lambda n=n: made.append(n) for n in range(5)], count=20, warmup=0)
        return made

    assert order() == order()


def test_each_time_belongs_to_its_call():
    slow, quick = interleave([lambda: time.sleep(0.02), lambda: None], count=5)
    assert min(slow) >= 0.02
    assert min(quick) < 0.02


def test_a_duration_ends_the_rounds_and_one_is_always_made():
    assert len(interleave([lambda: time.sleep(0.01)], duration=0.2)[0]) <= 20
    assert len(interleave([lambda: None], duration=1e-9, warmup=0)[0]) == 1


def test_garbage_is_collected_between_measurements_and_not_in_them():
    during = []
    interleave([lambda: during.append(gc.isenabled())], count=2, warmup=0)
    assert during == [False, False]
    assert gc.isenabled()


def test_a_call_that_was_timed_elsewhere_says_how_long_it_took():
    ((first, *_),) = interleave([lambda: Took(12.5)], count=1, warmup=0)
    assert first == 12.5


def test_a_pause_before_a_call_is_not_a_part_of_its_time():
    began = time.perf_counter()
    ((took,),) = interleave([lambda: None], count=1, warmup=1, pause=0.05)
    assert time.perf_counter() - began >= 0.1
    assert took < 0.05


def test_the_machine_is_watched_after_the_warm_up():
    seen = []

    @contextmanager
    def watch():
        seen.append("begins")
        yield
        seen.append("ends")

    interleave([lambda: seen.append("call")], count=2, warmup=1, watch=watch())
    assert seen == ["call", "begins", "call", "call", "ends"]
