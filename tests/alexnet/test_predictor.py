"""Predictor: order, bad photos, bounded look-ahead, threads, and the answers of a real network."""

import itertools
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet import decoder, photo
from alexnet.backends import Backend, open_backend
from alexnet.backends.base import ArtifactInfo
from alexnet.config import preset
from alexnet.errors import AlexNetError
from alexnet.labels import Label
from alexnet.photo import OutOfMemoryError, load_photo
from alexnet.predictor import Predictor, top_scores
from tests.photos import encode, imagenet_samples, pattern, plain, sklearn_photos

COLOURS = (Label("red", "red, scarlet"), Label("green", "green"), Label("blue", "blue"))


class MeanColour:
    """A backend whose probabilities are the shares of red, green and blue in a photo.

    Its features are the top left pixel. `batches` lists how many photos each run was given.
    """

    name = "mean-colour"

    def __init__(self, *, has_features: bool = True, streams: int = 1) -> None:
        self.streams = streams
        self.info = ArtifactInfo(
            path=Path("mean-colour"),
            sha256="",
            config=preset("mini"),
            labels=COLOURS,
            views="centre",
            has_features=has_features,
            provenance={},
        )
        self.batches: list[int] = []

    def run(self, photos):
        self.batches.append(len(photos))
        sums = photos.astype(np.float32).mean(axis=(1, 2))
        return sums / sums.sum(axis=1, keepdims=True)

    def run_features(self, photos):
        return self.run(photos), photos[:, 0, 0].astype(np.float32)

    def close(self) -> None:
        """Nothing to free."""


def own_threads():
    names = ("alexnet-decode", "alexnet-run")
    return [each for each in threading.enumerate() if each.name.startswith(names)]


def numbered(count):
    """Photos whose red share grows with their number."""
    return [encode(plain((number + 1, 0, 255 - number))) for number in range(count)]


def red_shares(predictions):
    return [float(prediction.probabilities[0]) for prediction in predictions]


# Order and batches


@pytest.mark.parametrize("batch", [1, 4, 16, 100])
@pytest.mark.parametrize("decoders", [1, 5])
@pytest.mark.parametrize("streams", [1, 3])
def test_answers_come_in_the_order_of_the_photos(batch, decoders, streams):
    predictor = Predictor(MeanColour(streams=streams), batch=batch, decoders=decoders)
    shares = red_shares(predictor.predict(numbered(50)))
    np.testing.assert_allclose(shares, (np.arange(50) + 1) / 256, rtol=1e-5)


def test_the_backend_gets_full_batches_and_then_the_rest():
    backend = MeanColour()
    list(Predictor(backend, batch=8).predict(numbered(19)))
    assert backend.batches == [8, 8, 3]


def test_no_photos_give_no_answers_and_no_run():
    backend = MeanColour()
    assert list(Predictor(backend).predict([])) == []
    assert backend.batches == []


def test_paths_bytes_and_pil_images_mix(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encode(plain((10, 20, 30))))
    sources = [path, str(path), path.read_bytes(), plain((10, 20, 30))]
    answers = list(Predictor(MeanColour()).predict(sources))
    assert len({answer.probabilities.tobytes() for answer in answers}) == 1
    assert [answer.format for answer in answers] == ["PNG", "PNG", "PNG", "PIL"]


def test_an_answer_carries_the_facts_of_its_photo():
    stills = [pattern(120, 90), pattern(120, 90, seed=1)]
    data = encode(stills[0], "WEBP", save_all=True, append_images=stills[1:])
    (answer,) = Predictor(MeanColour()).predict([data])
    assert (answer.width, answer.height, answer.format, answer.frames) == (120, 90, "WEBP", 2)
    assert answer.error is None
    assert answer.features is None


def test_features_are_given_where_asked_for():
    predictor = Predictor(MeanColour())
    answers = list(predictor.predict([plain((1, 2, 3)), plain((4, 5, 6))], features=True))
    assert [answer.features.tolist() for answer in answers] == [[1, 2, 3], [4, 5, 6]]
    assert predictor.predict_one(plain((7, 8, 9)), features=True).features.tolist() == [7, 8, 9]


def test_an_answer_does_not_keep_the_arrays_of_its_batch():
    (answer,) = Predictor(MeanColour()).predict([plain((1, 2, 3))], features=True)
    assert answer.probabilities.base is None
    assert answer.features.base is None


# Bad photos


def test_one_bad_photo_among_many_is_one_error_in_its_place():
    photos = numbered(40)
    good = red_shares(Predictor(MeanColour(), batch=8).predict(photos))
    photos[13] = photos[13][:60]
    answers = list(Predictor(MeanColour(), batch=8).predict(photos))
    assert [at for at, answer in enumerate(answers) if answer.error] == [13]
    bad = answers.pop(13)
    assert bad.error.code == "corrupt_photo"
    assert bad.scores == ()
    assert (bad.probabilities, bad.features, bad.width, bad.height) == (None, None, None, None)
    assert (bad.format, bad.frames) == (None, None)
    assert red_shares(answers) == good[:13] + good[14:]


def test_a_defect_of_ours_is_one_photos_error_and_is_logged_with_its_traceback(monkeypatch, caplog):
    photos = numbered(9)
    good = red_shares(Predictor(MeanColour()).predict(photos))
    to_rgb = decoder.to_rgb

    def fails_on_grey(image):
        return image.no_such_thing if image.mode == "L" else to_rgb(image)

    monkeypatch.setattr(decoder, "to_rgb", fails_on_grey)
    photos[4] = encode(pattern().convert("L"))
    answers = list(Predictor(MeanColour()).predict(photos))
    error = answers.pop(4).error
    assert error.code == "internal_error"
    assert "defect of alexnet" in str(error)
    assert "no_such_thing" not in str(error)  # people who ask a service read this
    assert "damaged" not in str(error)
    assert red_shares(answers) == good[:4] + good[5:]
    (record,) = caplog.records
    assert "no_such_thing" in caplog.text
    assert "fails_on_grey" in caplog.text  # of the traceback
    assert record.levelname == "ERROR"


def test_what_is_no_photo_at_all_is_a_mistake_of_the_program():
    with pytest.raises(TypeError):
        Predictor(MeanColour()).predict_one(5)


def test_a_batch_of_bad_photos_only_is_not_run():
    backend = MeanColour()
    answers = list(Predictor(backend, batch=4).predict([b"", b"text", "none.jpg", b"\xff\xd8\xff"]))
    codes = [answer.error.code for answer in answers]
    assert codes == ["empty_file", "not_a_photo", "missing_file", "corrupt_photo"]
    assert backend.batches == []


def test_the_pixel_limit_and_the_fast_path_reach_the_decoder():
    large = encode(pattern(1600, 1200), "JPEG")
    backend = MeanColour()
    refused = Predictor(backend, max_pixels=1000).predict_one(large)
    assert refused.error.code == "too_many_pixels"
    for fast in (False, True):
        answer = Predictor(backend, fast=fast).predict_one(large, features=True)
        wanted = load_photo(large, backend.info.config.input, fast=fast).pixels[0, 0]
        assert answer.features.tolist() == wanted.tolist()


# Scores


def test_scores_are_the_best_classes_with_their_names():
    answer = Predictor(MeanColour()).predict_one(plain((50, 0, 150)), top_k=2)
    best, second = answer.scores
    assert (best.index, best.label, best.name, best.probability) == (2, "blue", "blue", 0.75)
    assert (second.index, second.label, second.name) == (0, "red", "red, scarlet")


def test_of_equal_classes_the_lower_index_comes_first():
    labels = [Label(str(index), str(index)) for index in range(6)]
    probabilities = np.array([0.1, 0.2, 0.1, 0.2, 0.3, 0.1], np.float32)
    scores = top_scores(probabilities, labels, top_k=6)
    assert [score.index for score in scores] == [4, 1, 3, 0, 2, 5]


def test_more_scores_than_classes_gives_all_classes():
    assert len(Predictor(MeanColour()).predict_one(plain((1, 2, 3)), top_k=1000).scores) == 3


# Mistakes


@pytest.mark.parametrize("top_k", [0, -1])
def test_asking_for_no_scores_is_an_error_at_once(top_k):
    predictor = Predictor(MeanColour())
    with pytest.raises(AlexNetError, match="top_k must be at least 1"):
        predictor.predict([], top_k=top_k)
    with pytest.raises(AlexNetError, match="top_k must be at least 1"):
        predictor.predict_one(b"", top_k=top_k)


def test_a_predictor_needs_a_decoder_and_a_batch():
    with pytest.raises(AlexNetError, match="decoders"):
        Predictor(MeanColour(), decoders=0)
    with pytest.raises(AlexNetError, match="batch"):
        Predictor(MeanColour(), batch=0)


@pytest.mark.parametrize("single", ["photo.jpg", Path("photo.jpg"), b"bytes", plain((1, 2, 3))])
def test_a_single_photo_instead_of_many_is_an_error_that_names_predict_one(single):
    with pytest.raises(AlexNetError, match="predict_one"):
        Predictor(MeanColour()).predict(single)


def test_features_of_a_model_without_features_are_an_error_at_once():
    with pytest.raises(AlexNetError, match="--features"):
        Predictor(MeanColour(has_features=False)).predict([], features=True)


# Look-ahead and threads


@pytest.mark.parametrize("streams", [1, 2, 4])
def test_an_endless_stream_is_read_only_a_little_ahead(streams):
    read = 0

    def endless():
        nonlocal read
        for colour in itertools.cycle([(200, 10, 10), (10, 200, 10)]):
            read += 1
            yield plain(colour)

    answers = Predictor(MeanColour(streams=streams), batch=4, decoders=2).predict(endless())
    assert read == 0  # nothing before the first answer is asked for
    for taken, answer in enumerate(itertools.islice(answers, 100), 1):
        assert answer.scores[0].index == (taken + 1) % 2
        assert read <= taken + 4 * (streams + 2)
    answers.close()


def test_photos_are_let_go_once_they_are_answered():
    given = []

    def stream():
        for number in range(60):
            photo = plain((number, 0, 1))
            given.append(weakref.ref(photo))
            yield photo
            del photo

    most = 0
    for _ in Predictor(MeanColour(), batch=4, decoders=2).predict(stream()):
        most = max(most, sum(photo() is not None for photo in given))
    assert len(given) == 60
    assert most <= 12 + 2  # those read ahead, and what two idle threads still hold


def test_an_error_that_is_kept_does_not_keep_its_photo():
    photo = Image.new("RGB", (0, 5))
    given = weakref.ref(photo)
    (answer,) = Predictor(MeanColour()).predict(iter([photo]))
    del photo
    assert answer.error.code == "corrupt_photo"
    assert given() is None


def test_closing_the_answers_early_ends_the_threads():
    answers = Predictor(MeanColour(), batch=2, decoders=3).predict(itertools.cycle(numbered(3)))
    next(answers)
    assert own_threads()
    answers.close()
    assert not own_threads()


def test_an_error_of_the_backend_is_raised_and_ends_the_threads():
    class Broken(MeanColour):
        def run(self, photos):
            raise RuntimeError("the device is gone")

    answers = Predictor(Broken(), batch=2).predict(itertools.cycle(numbered(3)))
    with pytest.raises(RuntimeError, match="the device is gone"):
        next(answers)
    assert not own_threads()


def test_an_error_of_the_stream_is_raised_after_the_answers_before_it():
    def stream():
        yield from numbered(5)
        raise OSError("the disk is gone")

    answers = Predictor(MeanColour(), batch=2).predict(stream())
    assert len(list(itertools.islice(answers, 5))) == 5
    with pytest.raises(OSError, match="the disk is gone"):
        next(answers)
    assert not own_threads()


def test_something_that_is_no_photo_at_all_is_a_mistake_of_the_program():
    answers = Predictor(MeanColour()).predict([5])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        next(answers)
    assert not own_threads()


def test_decoding_goes_on_while_the_network_runs():
    class Waiting(MeanColour):
        """Its first run ends only when the next photo has been decoded."""

        def run(self, photos):
            if not self.batches:
                assert decoded.wait(timeout=30)
            return super().run(photos)

    decoded = threading.Event()

    class Marked(os.PathLike):
        """A path that says when it is opened."""

        def __fspath__(self):
            decoded.set()
            return str(sklearn_photos()[0])

    photos = [plain((1, 1, 1)), plain((2, 2, 2)), Marked()]
    assert len(list(Predictor(Waiting(), batch=2, decoders=1).predict(photos))) == 3


@pytest.mark.parametrize("streams", [2, 3])
def test_every_stream_has_a_batch_and_none_has_two(streams):
    class Streams(MeanColour):
        """Answers once all streams run; a thread too many would come in between."""

        running = most = 0

        def run(self, photos):
            with lock:
                self.running += 1
                self.most = max(self.most, self.running)
            together.wait(timeout=30)
            with lock:
                self.running -= 1
            return super().run(photos)

    lock, together = threading.Lock(), threading.Barrier(streams)
    backend = Streams(streams=streams)
    shares = red_shares(Predictor(backend, batch=2).predict(numbered(4 * streams)))
    np.testing.assert_allclose(shares, (np.arange(4 * streams) + 1) / 256, rtol=1e-5)
    assert backend.batches == [2] * (2 * streams)
    assert backend.most == streams


def test_a_slow_batch_is_not_overtaken_by_the_next_ones():
    class FirstIsLast(MeanColour):
        """Its first batch waits for the second."""

        def run(self, photos):
            if photos[0, 0, 0, 0] == 1:
                assert second.wait(timeout=30)
            else:
                second.set()
            return super().run(photos)

    second = threading.Event()
    shares = red_shares(Predictor(FirstIsLast(streams=2), batch=1).predict(numbered(6)))
    np.testing.assert_allclose(shares, (np.arange(6) + 1) / 256, rtol=1e-5)


def test_an_error_of_one_stream_is_raised_behind_the_answers_before_it():
    class Breaks(MeanColour):
        def run(self, photos):
            if photos[0, 0, 0, 0] == 4:
                raise RuntimeError("the device is gone")
            return super().run(photos)

    answers = Predictor(Breaks(streams=2), batch=1).predict(numbered(9))
    assert len(list(itertools.islice(answers, 3))) == 3
    with pytest.raises(RuntimeError, match="the device is gone"):
        next(answers)
    assert not own_threads()


def test_streams_share_the_cores_in_small_batches():
    assert Predictor(MeanColour()).batch == 16
    assert Predictor(MeanColour(streams=2)).batch == 4


def test_several_threads_may_use_one_predictor():
    predictor = Predictor(MeanColour(), batch=3, decoders=2)
    photos = numbered(20)
    wanted = red_shares(predictor.predict(photos))
    with ThreadPoolExecutor(6) as pool:
        shuffled = [photos[turn:] + photos[:turn] for turn in range(6)]
        answers = list(pool.map(lambda mine: red_shares(predictor.predict(mine)), shuffled))
    for turn, shares in enumerate(answers):
        np.testing.assert_allclose(shares, wanted[turn:] + wanted[:turn], rtol=1e-6)


# Real networks


@pytest.fixture(scope="module")
def network(model_path) -> Backend:
    """A small network in PyTorch, run with ten views."""
    return open_backend(model_path)


def check_answers(backend, paths):
    """The predictor's answers are the backend's for each photo alone."""
    answers = list(Predictor(backend, batch=8).predict(paths, features=True))
    assert len(answers) == len(paths)
    for path, answer in zip(paths, answers, strict=True):
        photo = load_photo(path, backend.info.config.input)
        probabilities, features = backend.run_features(photo.pixels[None])
        np.testing.assert_allclose(answer.probabilities, probabilities[0], atol=1e-6)
        np.testing.assert_allclose(answer.features, features[0], atol=1e-4)
        assert answer.scores[0].index == int(answer.probabilities.argmax())
        assert abs(float(answer.probabilities.sum()) - 1) < 1e-4


def test_a_real_network_answers_real_photographs(network):
    check_answers(network, [*sklearn_photos(), *sklearn_photos()])


@pytest.mark.shared
def test_a_real_network_answers_every_fifth_sample_photo(network):
    check_answers(network, imagenet_samples()[::5])


# What is no fault of the photo


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("features", [False, True])
def test_a_photo_that_the_network_gives_no_numbers_for_has_an_error(value, features):
    class Overflowing(MeanColour):
        def run(self, photos):
            answers = super().run(photos)
            answers[photos[:, 0, 0, 0] == 3, 1] = value
            return answers

    predictor = Predictor(Overflowing(), batch=5)
    answers = list(predictor.predict(numbered(5), features=features))
    assert [answer.error.code if answer.error else None for answer in answers] == [
        *(None, None, "no_numbers", None, None)
    ]
    assert answers[2].scores == ()
    assert answers[2].probabilities is None
    assert answers[2].features is None
    assert predictor.predict_one(numbered(3)[2]).error.code == "no_numbers"


def test_short_memory_ends_the_stream_and_is_not_said_of_the_photo(monkeypatch):
    def short(image, input, **options):
        raise MemoryError

    monkeypatch.setattr(photo, "to_square", short)
    answers = Predictor(MeanColour(), batch=2).predict(itertools.cycle(numbered(3)))
    with pytest.raises(OutOfMemoryError, match="not enough memory for one more photo"):
        next(answers)
    assert not own_threads()
