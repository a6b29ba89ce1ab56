"""What `alexnet-train prepare` says at its end, and what its options change."""

import gzip
import json

import pytest
from click.testing import CliRunner

from tests.photos import encode, pattern, shared_data
from tests.train.folders import archive, contents, pets, write
from train.cli import main


def prepare(*arguments):
    """The command in this process: exit code, the JSON line's values, and stderr."""
    done = CliRunner().invoke(main, ["prepare", *map(str, arguments), "--workers=1"])
    return done.exit_code, json.loads(done.stdout) if done.stdout else None, done.stderr


def rejected(folder):
    """(path, code) of each line of rejected.tsv."""
    lines = contents(folder)["rejected.tsv"].decode().splitlines()[1:]
    return [tuple(line.split("\t")[:2]) for line in lines]


def test_the_summary_counts_what_is_not_used(tmp_path):
    files = pets(3, prefix="train/") | pets(2, prefix="valid/") | pets(1, prefix="test/")
    files |= {"train/@eaDir/cat/1.jpg": b"x", "train/owl/notes.txt": b"x", "old.zip": b"PK"}
    code, summary, said = prepare(write(tmp_path / "set", files), tmp_path / "data", "--size=16")
    assert (code, summary["train"], summary["val"], summary["left_out"]) == (0, 6, 4, 0)
    assert summary["passed_over"] == {
        "unused_photos": {"test": 2},
        "empty_class_folders": 1,
        "junk_folders": 1,
        "hidden_photos": 0,
        "archives": 1,
        "other_files": 1,
    }
    assert said.splitlines()[-1] == (
        "Not used: 2 photos of test/, 1 class folders without photos (train/owl), 1 folders of "
        "thumbnails, trash or hidden files, 1 archives (old.zip), 1 files that are no photos."
    )


def test_a_finished_folder_says_the_same_again(tmp_path):
    files = pets(3) | {"@eaDir/1.jpg": b"x"}
    write(tmp_path / "set", files)
    first, second = (prepare(tmp_path / "set", tmp_path / "data", "--size=16") for _ in range(2))
    assert first[1] | {"seconds": 0} == second[1] | {"seconds": 0}


def test_what_is_passed_over_does_not_change_the_data_set(tmp_path):
    write(tmp_path / "a" / "set", pets(3))
    write(tmp_path / "b" / "set", pets(3) | {"@eaDir/1.jpg": b"x", "notes.txt": b"x"})
    for name in "ab":
        prepare(tmp_path / name / "set", tmp_path / name / "data", "--size=16")
    assert contents(tmp_path / "a" / "data") == contents(tmp_path / "b" / "data")


def test_photos_of_formats_that_are_not_read_get_a_line_each(tmp_path):
    jxl = b"\xff\x0a" + bytes(100)
    files = pets(3) | {"cat/9.jxl": jxl, "owl/1.jxl": jxl, "owl/2.jxl": jxl}
    code, summary, said = prepare(
        write(tmp_path / "set", files), tmp_path / "data", "--size=16", "--val-fraction=0"
    )
    assert (code, summary["train"], summary["left_out"], summary["classes"]) == (0, 6, 3, 3)
    assert rejected(tmp_path / "data") == [
        ("train/cat/9.jxl", "unsupported_format"),
        ("train/owl/1.jxl", "unsupported_format"),
        ("train/owl/2.jxl", "unsupported_format"),
    ]
    assert "no training photo of the class owl can be read" in said


def test_max_pixels_leaves_larger_photos_out(tmp_path):
    files = pets(3, size=(30, 20)) | {"cat/9.png": encode(pattern(40, 20))}
    write(tmp_path / "set", files)
    code, summary, _ = prepare(
        tmp_path / "set", tmp_path / "data", "--size=16", "--max-pixels=799", "--val-fraction=0"
    )
    assert (code, summary["train"]) == (0, 6)
    assert rejected(tmp_path / "data") == [("train/cat/9.png", "too_many_pixels")]
    code, summary, said = prepare(
        tmp_path / "set", tmp_path / "data", "--size=16", "--max-pixels=800", "--val-fraction=0"
    )
    assert (code, summary) == (1, None)
    assert "has photos of up to 0.000799 megapixels, not of 0.0008: name another" in said


def test_a_data_set_of_an_earlier_version_is_taken_for_finished(tmp_path):
    write(tmp_path / "set", pets(3))
    prepare(tmp_path / "set", tmp_path / "data", "--size=16")
    facts = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert facts.pop("max_pixels") > 0  # which earlier versions did not write down
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(facts))
    assert "nothing is left to do" in prepare(tmp_path / "set", tmp_path / "data", "--size=16")[2]


def test_layout_classes_is_an_option(tmp_path):
    write(tmp_path / "set", pets(2, prefix="fold1/") | pets(2, prefix="fold2/"))
    code, _, said = prepare(tmp_path / "set", tmp_path / "data", "--size=16")
    assert (code, "--layout classes" in said) == (1, True)
    code, summary, _ = prepare(tmp_path / "set", tmp_path / "data", "--size=16", "--layout=classes")
    assert (code, summary["classes"], summary["train"] + summary["val"]) == (0, 2, 8)


def test_a_bad_photo_with_a_name_that_is_no_text_gets_its_line(tmp_path):
    write(tmp_path / "set", pets(3))
    try:
        (tmp_path / "set" / "cat").joinpath("\udcff.png").write_bytes(b"bad")
    except OSError:
        pytest.skip("this disk takes names in UTF-8 only")
    code, _, _ = prepare(tmp_path / "set", tmp_path / "data", "--size=16", "--val-fraction=0")
    assert (code, rejected(tmp_path / "data")) == (0, [("train/cat/\\udcff.png", "not_a_photo")])


@pytest.mark.parametrize("name", ["set.tar", "set.tar.gz"])
def test_a_hole_in_a_tar_is_a_sentence_and_exit_code_1(tmp_path, name):
    path = archive(tmp_path / "whole.tar", pets(20, size=(60, 40)))
    data = bytearray(path.read_bytes())
    start = data.index(b"cat/005.png")
    data[start : start + 12288] = bytes(12288)
    packed = gzip.compress(data) if name.endswith("gz") else bytes(data)
    write(tmp_path, {name: packed})
    code, summary, said = prepare(tmp_path / name, tmp_path / "data", "--size=16")
    assert (code, summary) == (1, None)
    assert "zeros lie where its entries should be" in said
    assert not (tmp_path / "data").exists()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "train", "val", "passed_over"),
    [
        ("nas-train.tar.gz", 6, 2, {"junk_folders": 3}),
        ("rf-valid.tar.gz", 6, 4, {"unused_photos": {"test": 4}}),
    ],
)
def test_the_shared_cases_are_read_as_they_should_be(tmp_path, name, train, val, passed_over):
    place = shared_data("..") / "cases" / name
    code, summary, _ = prepare(place, tmp_path / "data", "--size=16")
    assert (code, summary["train"], summary["val"], summary["classes"]) == (0, train, val, 2)
    assert passed_over.items() <= summary["passed_over"].items()


@pytest.mark.shared
def test_the_shared_tar_with_a_hole_is_refused(tmp_path):
    place = shared_data("..") / "cases" / "interleaved-hole12k.tar.gz"
    code, _, said = prepare(place, tmp_path / "data", "--size=16")
    assert code == 1
    assert "from byte 38,400 to byte 49,152 zeros lie where" in said
