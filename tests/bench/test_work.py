"""What a timed call does, seen from the backend."""

import numpy as np
import pytest

from alexnet.backends import open_backend
from alexnet.photo import load_photo
from alexnet.photo_error import PhotoError
from bench.work import Answers, Network, Pass, Query
from tests.photos import encode, pattern

PHOTOS = [encode(pattern(90, 70, seed=seed), "JPEG") for seed in range(3)]


class Noting:
    """A backend that keeps what it was given."""

    def __init__(self, backend):
        self.backend, self.given = backend, []
        self.name, self.info, self.streams = backend.name, backend.info, backend.streams

    def run(self, photos):
        self.given.append(photos)
        return self.backend.run(photos)


@pytest.fixture
def noting(model_path):
    return Noting(open_backend(model_path, views="centre"))


def squares(noting, *places):
    config = noting.info.config.input
    return np.stack([load_photo(PHOTOS[place], config).pixels for place in places])


def test_the_network_gets_the_same_decoded_photos_each_time(noting):
    call = Network(PHOTOS, 4).bind(noting)
    assert noting.given == []
    call()
    call()
    assert all(np.array_equal(one, squares(noting, 0, 1, 2, 0)) for one in noting.given)
    assert len(noting.given) == 2


def test_a_query_takes_the_next_photos(noting):
    call = Query(PHOTOS, 2).bind(noting)
    call()
    call()
    assert np.array_equal(np.concatenate(noting.given), squares(noting, 0, 1, 2, 0))


def test_a_query_of_one_photo_takes_one_after_the_other(noting):
    call = Query(PHOTOS, 1).bind(noting)
    for _ in range(4):
        call()
    assert [len(one) for one in noting.given] == [1] * 4
    assert np.array_equal(np.concatenate(noting.given), squares(noting, 0, 1, 2, 0))


def test_a_pass_takes_every_photo_in_batches(noting):
    Pass(PHOTOS, 7, 3).bind(noting)()
    given = np.concatenate(noting.given)
    assert max(map(len, noting.given)) <= 3
    expected = squares(noting, 0, 1, 2, 0, 1, 2, 0)
    assert sorted(one.sum() for one in given) == sorted(one.sum() for one in expected)


def test_a_pass_takes_files_too(noting, tmp_path):
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    for path, photo in zip(paths, PHOTOS, strict=True):
        path.write_bytes(photo)
    Pass(paths, 3, 2).bind(noting)()
    given = np.concatenate(noting.given)
    assert sorted(one.sum() for one in given) == sorted(
        one.sum() for one in squares(noting, 0, 1, 2)
    )


@pytest.mark.parametrize(
    ("work", "places"),
    [(Query(PHOTOS, 1), [0, 1, 2]), (Pass(PHOTOS, 7, 3), [0, 1, 2, 0, 1, 2, 0])],
    ids=["query", "pass"],
)
def test_answers_name_every_class_of_every_photo_in_order(noting, work, places):
    answers = Answers(work).bind(noting)()
    expected = noting.backend.run(squares(noting, *places))
    assert len(answers) == len(places)
    for answer, probabilities in zip(answers, expected, strict=True):
        assert sorted(index for index, _ in answer) == list(range(len(probabilities)))
        found = [probability for _, probability in answer]
        assert found == sorted(found, reverse=True)
        for index, probability in answer:
            assert probability == pytest.approx(probabilities[index], abs=1e-6)


def test_answers_to_what_is_no_photo_are_its_error(noting):
    with pytest.raises(PhotoError):
        Answers(Query([b"no photo"], 1)).bind(noting)()
