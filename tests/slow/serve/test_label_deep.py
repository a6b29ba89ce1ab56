"""Folders so deep that alexnet-label takes seconds to reach the photo in the last."""

import subprocess

from serve.inputs import Inputs, entries
from serve.reading import items
from tests.serve.label_runs import nested, small_photo


def test_a_photo_in_five_thousand_folders_is_found_and_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = nested(tmp_path, 5000)
    try:
        for argument in ("deep", "deep/**/*.bmp"):
            (item,) = items(entries(Inputs(arguments=(argument,))))
            assert item.path == path
            assert item.source() == small_photo(3)
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "deep"], check=True)
