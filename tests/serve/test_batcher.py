"""Photos of many requests, answered together by a backend that the tests hold by the hand."""

import asyncio
import threading
import time
from contextlib import asynccontextmanager

import pytest

from alexnet import decoder
from alexnet.photo import load_photo
from alexnet.predictor import Predictor
from serve.batcher import Batcher
from serve.line import Item, Line
from serve.pace import Pace
from serve.problems import Problem
from serve.settings import Settings
from tests.photos import encode, plain
from tests.serve.backends import Backend, grey


@asynccontextmanager
async def batching(backend, **settings):
    """A batcher, whose backend is set free at the end."""
    batcher = Batcher(backend, Settings(**settings), observer=backend.heard)
    try:
        yield batcher
    finally:
        backend.gate.set()
        left = await asyncio.to_thread(batcher.close, deadline=time.monotonic() + 30)
        assert left == []


async def ask(batcher, *numbers, top_k=1, seconds=30.0):
    """The first class of each photo, or the code of its error."""
    photos = [grey(number) if isinstance(number, int) else number for number in numbers]
    deadline = time.monotonic() + seconds
    answers = await batcher.answer(photos, top_k=top_k, deadline=deadline)
    return [
        answer.error.code if answer.error else answer.scores[0].index
        for answer in answers.predictions
    ]


async def busy(batcher, backend):
    """A request that is in the backend, which waits; nothing else is on its way."""
    backend.gate.clear()
    task = asyncio.create_task(ask(batcher, 49))
    await asyncio.to_thread(backend.entered.acquire)
    return task


async def decoded(backend, count):
    """Wait until so many photos have left the decoders since `busy`."""
    while backend.heard.decoded < 1 + count:
        await asyncio.sleep(0.001)


def test_each_photo_of_each_request_gets_its_own_answer():
    async def live():
        async with batching(Backend()) as batcher:
            requests = [range(start, start + 3) for start in range(0, 48, 3)]
            answers = await asyncio.gather(*(ask(batcher, *request) for request in requests))
            assert answers == [list(request) for request in requests]

    asyncio.run(live())


def test_a_bad_photo_fails_alone():
    async def live():
        async with batching(Backend()) as batcher:
            return await asyncio.gather(ask(batcher, 1, b"text", 2), ask(batcher, b""))

    assert asyncio.run(live()) == [[1, "not_a_photo", 2], ["empty_file"]]


def test_what_queues_while_the_backend_is_busy_runs_together_up_to_the_batch_size():
    backend = Backend()

    async def live():
        async with batching(backend, batch=4) as batcher:
            first = await busy(batcher, backend)
            others = [asyncio.create_task(ask(batcher, number)) for number in range(5)]
            await decoded(backend, 5)
            backend.gate.set()
            await asyncio.gather(first, *others)

    asyncio.run(live())
    assert [len(batch) for batch in backend.batches] == [1, 4, 1]
    assert sorted(backend.photos) == [0, 1, 2, 3, 4, 49]


def test_each_request_of_a_batch_gets_as_many_classes_as_it_wants():
    backend = Backend()

    async def classes(batcher, top_k):
        answers = await batcher.answer([grey(7)], top_k=top_k, deadline=time.monotonic() + 30)
        return [score.index for score in answers.predictions[0].scores]

    async def live():
        async with batching(backend) as batcher:
            first = await busy(batcher, backend)
            others = [asyncio.create_task(classes(batcher, top_k)) for top_k in (1, 3)]
            await decoded(backend, 2)
            backend.gate.set()
            await first
            return await asyncio.gather(*others)

    assert asyncio.run(live()) == [[7], [7, 8, 9]]
    assert len(backend.batches) == 2


def test_a_photo_alone_waits_for_no_other():
    async def live():
        async with batching(Backend(), wait=300.0) as batcher:
            assert await asyncio.wait_for(ask(batcher, 5, seconds=200), 100) == [5]

    asyncio.run(live())


def test_streams_run_side_by_side():
    backend = Backend(streams=2)

    async def live():
        async with batching(backend, batch=1) as batcher:
            backend.gate.clear()
            both = [asyncio.create_task(ask(batcher, number)) for number in (1, 2)]
            for _ in both:  # the second comes in while the first is still inside
                assert await asyncio.to_thread(backend.entered.acquire, timeout=60)
            backend.gate.set()
            await asyncio.gather(*both)

    asyncio.run(live())


def test_a_full_queue_refuses_with_the_time_to_come_back():
    backend = Backend()

    async def live():
        async with batching(backend, queue=3) as batcher:
            first = await busy(batcher, backend)
            others = [asyncio.create_task(ask(batcher, number)) for number in range(3)]
            await decoded(backend, 3)
            with pytest.raises(Problem) as caught:
                await ask(batcher, 9)
            with pytest.raises(Problem):
                batcher.check_room()
            backend.gate.set()
            await asyncio.gather(first, *others)
            assert await ask(batcher, 9) == [9]
            return caught.value

    problem = asyncio.run(live())
    assert (problem.status, problem.code) == (503, "overloaded")
    assert 1 <= int(problem.headers["Retry-After"]) <= 60


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits():
    async def live():
        async with batching(Backend(), queue=2) as batcher:
            assert await ask(batcher, 1, 2, 3, 4) == [1, 2, 3, 4]

    asyncio.run(live())


def test_photos_are_decoded_ahead_for_the_next_batches_and_no_more(monkeypatch):
    monkeypatch.setattr("serve.batcher.cores", lambda: 1)
    backend = Backend()

    async def live():
        async with batching(backend, batch=2) as batcher:
            first = await busy(batcher, backend)
            others = asyncio.create_task(ask(batcher, *range(40)))
            await decoded(backend, 3)
            await asyncio.sleep(0.1)
            assert backend.heard.decoded == 1 + 3  # a batch, and one for the decoder
            backend.gate.set()
            await first
            assert await others == list(range(40))

    asyncio.run(live())


def test_a_request_past_its_deadline_is_refused_and_never_run():
    backend = Backend()

    async def live():
        async with batching(backend, timeout=0.2) as batcher:
            first = await busy(batcher, backend)
            with pytest.raises(Problem) as caught:
                await ask(batcher, 1, 2, seconds=0.2)
            backend.gate.set()
            await first
            assert await ask(batcher, 3) == [3]
            return caught.value

    problem = asyncio.run(live())
    assert (problem.status, problem.code) == (503, "overloaded")
    assert "Retry-After" in problem.headers
    assert backend.photos == [49, 3]


@pytest.mark.parametrize("photos", [1, 40])
def test_the_photos_of_a_cancelled_request_leave_the_queue(photos, monkeypatch):
    monkeypatch.setattr("serve.batcher.cores", lambda: 2)
    backend = Backend()

    async def live():
        async with batching(backend, queue=42) as batcher:  # two may be in a decoder still
            first = await busy(batcher, backend)
            cancelled = asyncio.create_task(ask(batcher, *[1] * photos))
            await decoded(backend, 1)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            full = asyncio.create_task(ask(batcher, *range(2, 42)))  # there is room again
            backend.gate.set()
            await first
            assert await full == list(range(2, 42))

    asyncio.run(live())
    assert 1 not in backend.photos


def test_a_backend_that_fails_is_reported_to_the_requests_of_its_batch_alone(caplog):
    backend = Backend()

    async def live():
        async with batching(backend, batch=2) as batcher:
            first = await busy(batcher, backend)
            both = asyncio.create_task(ask(batcher, 1, 2))
            await decoded(backend, 2)
            backend.failing = True
            backend.gate.set()
            failures = await asyncio.gather(first, both, return_exceptions=True)
            assert [(one.status, one.code) for one in failures] == [(503, "backend_failed")] * 2
            backend.failing = False
            assert await ask(batcher, 3) == [3]

    asyncio.run(live())
    assert "no more memory" in caplog.text


def test_a_backend_is_unhealthy_after_three_failures_until_it_answers():
    backend = Backend()
    backend.failing = True

    async def live():
        async with batching(backend) as batcher:
            healthy = []
            for _ in range(3):
                healthy.append(batcher.healthy)
                with pytest.raises(Problem):
                    await ask(batcher, 1)
            assert (healthy, batcher.healthy) == ([True] * 3, False)
            backend.failing = False
            await ask(batcher, 1)
            assert batcher.healthy

    asyncio.run(live())


def test_a_defect_of_the_decoder_ends_one_request_and_no_thread(monkeypatch):
    backend = Backend()

    async def live():
        async with batching(backend) as batcher:
            right = Predictor.load

            def load(predictor, source):
                if source == grey(1):
                    raise ZeroDivisionError
                return right(predictor, source)

            monkeypatch.setattr(Predictor, "load", load)
            for _ in range(10):  # more than there are threads
                with pytest.raises(ZeroDivisionError):
                    await ask(batcher, 1)
            assert await ask(batcher, 2) == [2]

    asyncio.run(live())


def test_a_batch_that_takes_for_ever_is_noticed():
    backend = Backend()

    async def live():
        async with batching(backend) as batcher:
            assert not batcher.stuck(0.0)
            first = await busy(batcher, backend)
            await asyncio.sleep(0.02)
            assert batcher.stuck(0.01)
            assert not batcher.stuck(60)
            backend.gate.set()
            await first
            assert not batcher.stuck(0.0)

    asyncio.run(live())


def test_at_the_end_what_was_accepted_is_answered_and_new_requests_are_not_accepted():
    backend = Backend()

    async def live():
        async with batching(backend) as batcher:
            first = await busy(batcher, backend)
            accepted = asyncio.create_task(ask(batcher, 1, 2, 3))
            await decoded(backend, 3)
            batcher.stop_accepting()
            with pytest.raises(Problem) as caught:
                await ask(batcher, 4)
            backend.gate.set()
            assert await asyncio.gather(first, accepted) == [[49], [1, 2, 3]]
            return caught.value

    problem = asyncio.run(live())
    assert (problem.status, problem.code) == (503, "shutting_down")
    assert "Retry-After" in problem.headers
    assert not [one for one in threading.enumerate() if one.name.startswith("alexnet-run")]


def test_the_end_waits_for_all_stuck_threads_together_and_names_them():
    backend = Backend(streams=8)

    async def live():
        batcher = Batcher(backend, Settings(batch=1))
        backend.gate.clear()
        asked = [asyncio.create_task(ask(batcher, number)) for number in range(9)]
        for _ in range(8):
            assert await asyncio.to_thread(backend.entered.acquire, timeout=30)
        began = time.monotonic()
        left = await asyncio.to_thread(batcher.close, deadline=began + 0.5)
        seconds = time.monotonic() - began
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        backend.gate.set()
        await asyncio.wait(asked)
        assert await asyncio.to_thread(batcher.close, deadline=time.monotonic() + 30) == []
        return left, seconds, [task.exception() for task in done], asked

    left, seconds, (refused,), asked = asyncio.run(live())
    assert left == [f"alexnet-run-{number}" for number in range(8)]
    assert 0.5 <= seconds < 2.5  # one after another they would take four
    assert (refused.status, refused.code) == (503, "shutting_down")
    assert [task.exception() for task in asked].count(None) == 8  # which the backend had already


def test_a_photo_that_is_in_a_decoder_at_the_end_is_told_like_those_that_wait():
    line = Line(batch=1, wait=0, reserve=4)
    items = [Item(owner=number, place=0, data=b"photo", arrived=0) for number in range(3)]
    line.put(items)
    first, second = line.next_to_decode(), line.next_to_decode()
    line.decoded(first, load_photo(grey(0), Backend().info.config.input))
    assert second is items[1]
    assert sorted(item.owner for item in line.stop()) == [0, 1, 2]


def test_an_observer_hears_of_batches_and_of_each_photos_time():
    backend = Backend()
    heard = backend.heard

    async def live():
        async with batching(backend) as batcher:
            first = await busy(batcher, backend)
            others = asyncio.create_task(ask(batcher, 1, 2, b"text"))
            await decoded(backend, 3)
            backend.gate.set()
            await asyncio.gather(first, others)

    asyncio.run(live())
    assert heard.batches == [1, 2]
    assert max(heard.queues) >= 2
    assert sorted(stage for stage, _ in heard.times) == (
        ["decode"] * 4 + ["run"] * 3 + ["wait"] * 3  # text never comes to the backend
    )
    assert all(seconds >= 0 for _, seconds in heard.times)


def test_the_times_of_an_answer_are_those_of_its_last_photo():
    backend = Backend()

    async def live():
        async with batching(backend) as batcher:
            first = await busy(batcher, backend)
            began = time.monotonic()
            deadline = began + 30
            other = asyncio.create_task(batcher.answer([grey(1)], top_k=1, deadline=deadline))
            await decoded(backend, 1)
            await asyncio.sleep(0.05)
            backend.gate.set()
            await first
            answers = await other
            return answers, time.monotonic() - began

    answers, seconds = asyncio.run(live())
    assert answers.wait >= 0.05
    assert answers.decode > 0
    assert answers.run > 0
    assert answers.decode + answers.wait + answers.run <= seconds


def test_the_time_to_come_back_follows_the_pace_of_the_last_batches():
    pace = Pace()
    assert pace.seconds(1000) == 1  # nothing is known yet
    # Four photos a second on two streams: a batch of two ends every half second, whenever it began.
    for number in range(1, 40):
        pace.note(2, arrived=number / 2 - 3, ended=number / 2)
    assert pace.seconds(7) == 2
    assert pace.seconds(9) == 3
    assert pace.seconds(10_000) == 60
    # A pause in which nobody asked is not the photos' time.
    pace.note(2, arrived=1000.0, ended=1000.5)
    assert pace.seconds(7) == 2


def test_a_photo_that_memory_is_too_short_for_may_come_again(monkeypatch):
    """It is as good as any: 503 says so, where 422 would be for good. Others are answered."""
    to_rgb = decoder.to_rgb

    def short(image):
        if image.width == 90:
            raise MemoryError
        return to_rgb(image)

    monkeypatch.setattr(decoder, "to_rgb", short)
    huge = encode(plain((7, 7, 7), side=90))

    async def live():
        async with batching(Backend()) as batcher:
            with pytest.raises(Problem) as refused:
                await ask(batcher, huge)
            assert (refused.value.status, refused.value.code) == (503, "overloaded")
            assert "no memory for this photo now" in refused.value.detail
            assert int(refused.value.headers["Retry-After"]) > 0
            assert batcher.healthy
            assert batcher.idle
            monkeypatch.setattr(decoder, "to_rgb", to_rgb)
            return await ask(batcher, huge, 3)

    assert asyncio.run(live()) == [7, 3]
