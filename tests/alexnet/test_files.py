import hashlib
import json
import os
import stat

import pytest

from alexnet.files import atomic_path, sha256_of, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "labels.csv"
    write_text(target, "old")

    def stop_halfway():
        with atomic_path(target) as temporary:
            temporary.write_text("half of the new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_halfway()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "labels.csv"
    write_text(target, "old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def test_missing_folders_are_made(tmp_path):
    write_json(tmp_path / "a" / "b" / "x.json", {"name": "Kühe"})
    assert (tmp_path / "a" / "b" / "x.json").read_text("utf-8") == '{\n  "name": "Kühe"\n}\n'


def test_a_file_name_that_is_not_utf8_comes_back_from_json(tmp_path):
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    write_json(tmp_path / "x.json", {"name": name})
    assert json.loads((tmp_path / "x.json").read_bytes()) == {"name": name}


def test_a_file_gets_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "x", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"photo")
    assert sha256_of(tmp_path / "x") == hashlib.sha256(b"photo").hexdigest()
