"""Labelling that is killed at random goes on to the same bytes."""

import os
import signal
import subprocess
import sys

import pytest

from serve import parts
from tests.serve.label_runs import ENV, read_csv, run
from tests.serve.test_label_resume import MANY, QUICK, done, here, place, stopped


def killed_twice(target, *words, parts):
    """A run that is killed after `parts` parts, once more after twice as many, and finished."""
    folder = target.with_name(f"{target.name}.parts")
    for count in (parts, 2 * parts):
        ended, error = stopped(
            signal.SIGKILL, folder, *words, "-o", target, "--resume", parts=count
        )
        assert ended == -signal.SIGKILL, error
        assert not target.exists()
    before = done(folder)["photos"]
    code, error = run(*words, "-o", target, "--resume")
    assert code == 1, error
    assert f"{before:,} of them by an earlier run" in error
    assert not folder.exists()


def test_twenty_thousand_photos_killed_twice_give_the_same_bytes(tmp_path, uninterrupted):
    rows = read_csv(uninterrupted[0])
    assert [row["path"] for row in rows] == [f"many/{number:05}.bmp" for number in range(MANY)]
    target = tmp_path / "labels.csv"
    killed_twice(target, "many", *QUICK, "--part-photos", "1000", parts=5)
    assert target.read_bytes() == uninterrupted[0].read_bytes()


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_other_formats_killed_twice_give_the_same_rows(tmp_path, ending):
    whole, target = tmp_path / f"whole.{ending}", tmp_path / f"labels.{ending}"
    words = ("more", *QUICK, "--part-photos", "160", "--features")
    assert run(*words, "-o", whole)[0] == 1
    killed_twice(target, *words, parts=3)
    if ending == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="reads Parquet")
        assert parquet.read_table(target).equals(parquet.read_table(whole))
    else:
        assert target.read_bytes() == whole.read_bytes()


PEAK = """
import atexit
from bench.processes import peak_mib
from serve.label import main
atexit.register(lambda: print(peak_mib()))
main(prog_name="alexnet-label")
"""


def peak(*words, **options):
    """Exit code of a run, and the most memory that it took, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(os.fspath, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=ENV | {"MALLOC_ARENA_MAX": "1"},  # how many there are is the scheduler's luck
        timeout=300,
        **options,
    )
    return done.returncode, float(done.stdout.split()[-1])


@pytest.fixture(scope="module")
def uninterrupted(place):
    """The 20,000 photos in one go: the table, and the memory that it took."""
    code, mebibytes = peak("many", *QUICK, "-o", "whole.csv", cwd=place)
    assert code == 1
    return place / "whole.csv", mebibytes


def test_memory_does_not_grow_with_the_number_of_photos(tmp_path, uninterrupted):
    code, mebibytes = peak("some", *QUICK, "-o", tmp_path / "some.csv")
    assert code == 1
    # The list of ten times as many paths and rows would be 10 MB and more.
    assert uninterrupted[1] < mebibytes + 8, (uninterrupted[1], mebibytes)
