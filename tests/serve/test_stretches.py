"""Stretches: the batches of one predictor, cut for many."""

import itertools
import random

import pytest

from alexnet.errors import AlexNetError
from serve.pipeline import Labelled
from serve.ray_worker import check_attempts
from serve.stretches import ChangedShardError, Stretch, label_stretch, stretches


class Labeller:
    """Rows are the photos' names; `photos` is how many each shard holds by now."""

    def __init__(self, photos):
        self.photos = photos

    def label(self, entries, start):
        skip = start[1]
        for number, name in enumerate(entries):
            for member in range(self.photos.get(name, 1)):
                if number or member >= skip:
                    place = (number, member + 1) if name in self.photos else (number + 1, 0)
                    yield Labelled({"path": f"{name}/{member}"}, False, place, folders=member)


def listing(seed):
    """Photos, and shards of no, few, some and very many photos."""
    random.seed(seed)
    counts = (0, 1, 3, 40, 300, 9001)
    names = [f"{n}.tar" if random.random() < 0.1 else f"{n}.jpg" for n in range(300)]
    return [(n, random.choice(counts) if n.endswith(".tar") else 1) for n in names]


@pytest.mark.parametrize("batch", [1, 4, 7, 300])
@pytest.mark.parametrize("start", [(0, 0), (3, 0)])
def test_stretches_hold_every_photo_once_in_whole_batches(batch, start):
    counted = listing(batch)
    shards = {name: count for name, count in counted if name.endswith(".tar")}
    done = [
        (stretch, list(label_stretch(Labeller(shards), stretch)))
        for stretch in stretches(counted[start[0] :], start=start, batch=batch)
    ]
    rows = [photo.row["path"] for _, labelled in done for photo in labelled]
    assert rows == [
        f"{name}/{member}" for name, count in counted[start[0] :] for member in range(count)
    ]
    assert [photo.folders for _, labelled in done for photo in labelled] == [
        member for _, count in counted[start[0] :] for member in range(count)
    ]
    assert [stretch.number for stretch, _ in done] == list(range(len(done)))
    assert all(len(labelled) % batch == 0 for _, labelled in done[:-1])
    assert all(256 <= len(labelled) <= 4096 + batch for _, labelled in done[:-1])
    for (stretch, labelled), (after, _) in itertools.pairwise(done):
        assert labelled[-1].next == stretch.end
        # Where one shard is done the next entry follows.
        assert after.start in (stretch.end, (stretch.end[0] + 1, 0))


def test_a_run_goes_on_within_a_shard():
    """500 photos of the first shard are done."""
    counted = [("a.tar", 700), ("b.tar", 200), ("c.jpg", 1)]
    shards = {"a.tar": 700, "b.tar": 200}
    found = list(stretches(counted, start=(0, 500), batch=16))
    assert [(one.start, one.end, one.photos) for one in found] == [
        ((0, 500), (1, 200), 400),
        ((2, 0), (3, 0), 1),
    ]
    names = [photo.row["path"] for photo in label_stretch(Labeller(shards), found[0])]
    assert (names[0], names[-1]) == ("a.tar/500", "b.tar/199")


@pytest.mark.parametrize("now", [{"a.tar": 299}, {"a.tar": 301}, {"b.tar": 99}, {"b.tar": 101}])
def test_a_shard_that_changed_since_it_was_counted_is_noticed(now):
    before = {"a.tar": 300, "b.tar": 100}
    labeller = Labeller(before | now)
    found = stretches(before.items(), start=(0, 0), batch=8)
    with pytest.raises(ChangedShardError, match=r"A shard changed .*\.tar"):
        list(itertools.chain.from_iterable(label_stretch(labeller, one) for one in found))


def test_photos_that_bring_down_every_process_end_the_run():
    stretch = Stretch(
        number=3, entries=("a.jpg", "b.jpg"), start=(7, 0), end=(9, 0), photos=2, is_whole=True
    )
    check_attempts(6, stretch)
    with pytest.raises(AlexNetError, match=r"died 6 times while it labelled the 2 photos from a"):
        check_attempts(7, stretch)
