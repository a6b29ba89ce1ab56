"""Tars that alexnet-label reads: whatever they are packed with, whatever lies in them, to the end.

A photo that is in a tar gets a row, or a row says what was not read; a run never ends well with
nothing labelled.
"""

import bz2
import gzip
import io
import lzma
import os
import tarfile

import pytest
from click.testing import CliRunner

from alexnet.photo import PhotoError
from serve.folders import LeftOut
from serve.inputs import InputError, Inputs, entries
from serve.label import main
from serve.reading import items
from serve.shards import count_photos, photos_in_shard
from tests.photos import encode, pattern
from tests.serve.label_runs import add, read_csv, small_photo, write_model, write_tar

PHOTOS = {f"c{number % 2}/{number}.bmp": small_photo(number) for number in range(4)}
PACKINGS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


def read(path, *, skip=0):
    """Names without the shard's, and contents; an error is its code."""
    found = photos_in_shard(str(path), skip=skip)
    return [
        (name.removeprefix(f"{path}/"), one.code if isinstance(one, PhotoError) else one)
        for name, one in found
    ]


def tar_of(members):
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name, data in members.items():
                add(tar, name, data)
        return file.getvalue()


def with_member(path, kind, name, target="", *, photos=PHOTOS):
    """A tar of `photos` and one entry of another kind behind them."""
    with tarfile.open(path, "w") as tar:
        for photo, data in photos.items():
            add(tar, photo, data)
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        tar.addfile(info)
    return path


# What it is packed with


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tgz", "TAR", "tar.bz2", "tar.xz"])
def test_the_bytes_say_what_a_tar_is_packed_with(tmp_path, packing, ending):
    shard = tmp_path / f"s.{ending}"
    shard.write_bytes(PACKINGS[packing](tar_of(PHOTOS)))
    assert read(shard) == list(PHOTOS.items())
    assert read(shard, skip=3) == list(PHOTOS.items())[3:]
    shard.write_bytes(tar_of(PHOTOS))
    assert read(shard) == list(PHOTOS.items())


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_packed_tar_that_breaks_off_or_has_a_wrong_byte_says_so(tmp_path, packing):
    shard = tmp_path / "s.tar.gz"
    packed = PACKINGS[packing](tar_of(PHOTOS))
    shard.write_bytes(packed[:-100])
    assert read(shard)[-1] == (str(shard), "corrupt_shard")
    shard.write_bytes(packed[:-30] + bytes([packed[-30] ^ 255]) + packed[-29:])
    assert read(shard)[-1] == (str(shard), "corrupt_shard")


def test_what_is_not_unpacked_is_a_sentence(tmp_path):
    shard = tmp_path / "s.tar.zst"
    shard.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    ((name, error),) = photos_in_shard(str(shard))
    assert (name, error.code) == (str(shard), "corrupt_shard")
    assert "it is packed with zstd, which is not read: unpack it" in str(error)


# Holes and ends


def test_a_hole_of_zeros_is_named_and_not_taken_for_the_end(tmp_path):
    data = bytearray(tar_of(PHOTOS))
    shard = tmp_path / "s.tar"
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        offsets = [member.offset for member in tar]
    data[offsets[2] : offsets[2] + 512] = bytes(512)  # one header
    shard.write_bytes(data)
    assert read(shard) == [*list(PHOTOS.items())[:2], (str(shard), "corrupt_shard")]
    data[offsets[2] : offsets[3]] = bytes(offsets[3] - offsets[2])  # a photo with its header
    shard.write_bytes(data)
    assert read(shard) == [*list(PHOTOS.items())[:2], (str(shard), "corrupt_shard")]
    *_, (_, error) = photos_in_shard(str(shard))
    assert "zeros lie where its entries should be" in str(error)
    assert "2 photos of it were read, the rest is missing." in str(error)


@pytest.mark.parametrize("packing", [None, *PACKINGS])
def test_a_tar_behind_another_is_read_as_well(tmp_path, packing):
    pack = PACKINGS.get(packing, bytes)
    first, second = ({name: data} for name, data in list(PHOTOS.items())[:2])
    shard = tmp_path / "s.tar"
    shard.write_bytes(pack(tar_of(first) + tar_of(second)))
    assert read(shard) == list(PHOTOS.items())[:2]
    shard.write_bytes(pack(tar_of(first)) + pack(tar_of(second)))
    assert read(shard) == list(PHOTOS.items())[:2]


# What lies in it


def test_tars_in_a_tar_are_read_as_folders_of_their_names(tmp_path):
    plain = tar_of({"a.bmp": small_photo(0), "b.bmp": small_photo(1)})
    inner = {"n01.tar": plain, "n02.tar": gzip.compress(plain), "n03.tar.xz": lzma.compress(plain)}
    deeper = tar_of({"n04.tar": plain})
    shard = write_tar(tmp_path / "s.tar", {**inner, "deep.tar": deeper, "z.bmp": small_photo(2)})
    expected = [
        (f"{folder}/{name}", small_photo(number))
        for folder in (*inner, "deep.tar/n04.tar")
        for number, name in enumerate(("a.bmp", "b.bmp"))
    ]
    expected.append(("z.bmp", small_photo(2)))
    assert read(shard) == expected
    packed = tmp_path / "s.tar.gz"
    packed.write_bytes(gzip.compress(shard.read_bytes()))
    assert read(packed) == expected
    for path in (shard, packed):
        assert count_photos(str(path)) == len(expected)
        for skip in range(len(expected)):
            assert read(path, skip=skip) == expected[skip:]


def test_a_damaged_tar_in_a_tar_does_not_take_the_others_along(tmp_path):
    plain = tar_of({"a.bmp": small_photo(0), "b.bmp": small_photo(1)})
    members = {"1.tar": plain[:-9000], "2.tar": b"no tar", "3.tar": b"", "4.tar": tar_of({})}
    shard = write_tar(tmp_path / "s.tar", {**members, "5.tar": gzip.compress(plain)[:-20] + b"x"})
    with tarfile.open(shard, "a") as tar:
        add(tar, "z.bmp", small_photo(2))
    found = read(shard)
    assert found[0] == ("1.tar/a.bmp", small_photo(0))
    codes = {name: code for name, code in found if isinstance(code, str)}
    assert codes == {
        "1.tar": "corrupt_shard",
        "2.tar": "corrupt_shard",
        "3.tar": "corrupt_shard",
        "4.tar": "empty_shard",
        "5.tar": "corrupt_shard",
    }
    assert found[-1] == ("z.bmp", small_photo(2))


def test_tars_in_tars_without_end_are_refused(tmp_path):
    data = tar_of({"a.bmp": small_photo(0)})
    for _ in range(6):
        data = tar_of({"x.tar": data})
    (tmp_path / "s.tar").write_bytes(data)
    assert read(tmp_path / "s.tar") == [("x.tar/x.tar/x.tar/x.tar", "corrupt_shard")]


def test_members_without_an_ending_are_told_by_their_bytes(tmp_path):
    jpeg = encode(pattern(40, 40), "JPEG")
    members = {"n01/10026": jpeg, "README": b"words", "notes.d/LICENSE": b"", "x.cls": jpeg}
    heic = b"\0\0\0\x18ftypheic" + bytes(100)
    shard = write_tar(tmp_path / "s.tar", {**members, "IMG_1": heic, "z": small_photo(0)})
    expected = [("n01/10026", jpeg), ("IMG_1", heic), ("z", small_photo(0))]
    assert read(shard) == expected
    assert read(shard, skip=1) == expected[1:]
    assert count_photos(str(shard)) == 3
    shard.write_bytes(gzip.compress(shard.read_bytes()))
    assert read(shard) == expected


@pytest.mark.parametrize("name", ["a.HEIC", "b.jxl", "c.dng", "d.CR2", "e.avif"])
def test_photos_of_formats_that_are_not_read_keep_their_place(tmp_path, name):
    shard = write_tar(tmp_path / "s.tar", {**PHOTOS, name: b"bytes"})
    assert read(shard)[-1] == (name, b"bytes")  # for the decoder to say what it is


def test_thumbnails_and_trash_in_a_tar_are_left_out(tmp_path):
    junk = ["c/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/._a.jpg", "#recycle/b.jpg", "._c.jpg"]
    shard = write_tar(tmp_path / "s.tar", {**dict.fromkeys(junk, b"x"), "c/1.jpg": b"photo"})
    assert read(shard) == [("c/1.jpg", b"photo")]
    left_out = LeftOut()
    assert len(list(photos_in_shard(str(shard), left_out=left_out))) == 1
    assert left_out.folders == 3  # ._c.jpg is no folder


def test_folders_left_out_of_tars_are_counted_once_wherever_a_run_goes_on(tmp_path):
    """Before, between and behind the photos, an empty one, and one in a tar in the tar."""
    inner = tar_of({"@eaDir/1.jpg": b"x", "1.bmp": b"1", "#recycle/2.jpg": b"x", "3.bmp": b"3"})
    folder = tarfile.TarInfo(".Trash-0")
    folder.type = tarfile.DIRTYPE
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name in ("@eaDir/1/a.jpg", "@eaDir/2/a.jpg", "2.bmp", "._2.bmp"):
            add(tar, name, b"x")
        tar.addfile(folder)
        for name, data in (("@eaDir/3/a.jpg", b"x"), ("in.tar", inner), ("4.bmp", b"4")):
            add(tar, name, data)
        for name in ("__MACOSX/._4.bmp", "c/#recycle/5.jpg", "c/#recycle/6.jpg"):
            add(tar, name, b"x")
    empty = write_tar(tmp_path / "empty.tar", {"@eaDir/1.jpg": b"x", ".Trash-1/2.jpg": b"x"})
    shards = [str(tmp_path / "s.tar"), str(empty), str(tmp_path / "s.tar")]
    found = list(items(shards))
    assert [item.folders for item in found] == [3, 1, 0, 2, 2, 3, 1, 0, 2]
    for done, item in enumerate(found, 1):
        rest = [(one.path, one.folders) for one in items(shards, start=item.next)]
        assert rest == [(one.path, one.folders) for one in found[done:]]
    with pytest.raises(InputError, match=r"There are no photos in .* 2 folders were left out\."):
        list(entries(Inputs(arguments=(str(empty),))))


def test_a_hard_link_gives_the_bytes_of_the_file_before_it(tmp_path):
    shard = with_member(tmp_path / "s.tar", tarfile.LNKTYPE, "b.bmp", "c1/1.bmp")
    assert read(shard)[-1] == ("b.bmp", PHOTOS["c1/1.bmp"])
    assert read(shard, skip=4) == [("b.bmp", PHOTOS["c1/1.bmp"])]
    whole = write_tar(tmp_path / "outer.tar", {"in.tar": shard.read_bytes()})
    assert read(whole)[-1] == ("in.tar/b.bmp", PHOTOS["c1/1.bmp"])


def test_a_link_of_which_there_are_no_bytes_keeps_a_row(tmp_path):
    none = with_member(tmp_path / "1.tar", tarfile.LNKTYPE, "b.bmp", "nowhere.bmp")
    packed = with_member(tmp_path / "2.tar", tarfile.LNKTYPE, "b.bmp", "c1/1.bmp")
    packed.write_bytes(gzip.compress(packed.read_bytes()))
    symbolic = with_member(tmp_path / "3.tar", tarfile.SYMTYPE, "b.bmp", "c1/1.bmp")
    fifo = with_member(tmp_path / "4.tar", tarfile.FIFOTYPE, "b.bmp")
    for shard in (none, packed, symbolic, fifo):
        assert read(shard) == [*PHOTOS.items(), ("b.bmp", "unreadable_file")], shard
        *_, (_, error) = photos_in_shard(str(shard))
        assert "unpack" in str(error)


# Nothing in silence


@pytest.fixture
def empty(tmp_path):
    """Tars without a photo."""
    return [
        write_tar(tmp_path / "text.tar", {"a.txt": b"x"}),
        write_tar(tmp_path / "none.tar", {}),
        write_tar(tmp_path / "trash.tar", {".Trash-1000/a.jpg": b"x"}),
    ]


def test_a_tar_without_photos_among_others_keeps_a_row(tmp_path, empty):
    for shard in empty:
        assert read(shard) == [(str(shard), "empty_shard")]
    good = write_tar(tmp_path / "good.tar", PHOTOS)
    found = list(entries(Inputs(arguments=tuple(map(os.fspath, [*empty, good])))))
    assert found == [*map(str, empty), str(good)]


def test_nothing_but_tars_without_photos_is_wrong_use(tmp_path, empty):
    with pytest.raises(InputError, match=r"There are no photos in .*text.tar, .*none.tar"):
        list(entries(Inputs(arguments=tuple(map(os.fspath, empty)))))
    target = tmp_path / "labels.csv"
    model = write_model(tmp_path / "model.onnx")
    words = [*map(str, empty), "--model", str(model), "-o", str(target)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "There are no photos in" in result.stderr
    assert not target.exists()
    assert not target.with_name("labels.csv.parts").exists()


def test_a_tar_of_tars_is_labelled_and_a_hole_in_it_is_said(tmp_path):
    good = tar_of({"a.bmp": small_photo(0)})
    torn = bytearray(tar_of({"a.bmp": small_photo(1), "b.bmp": small_photo(2)}))
    with tarfile.open(fileobj=io.BytesIO(torn)) as tar:
        second = tar.getmembers()[1].offset
    torn[second : second + 512] = bytes(512)
    write_tar(tmp_path / "s.tar", {"n01.tar": good, "n02.tar": bytes(torn)})
    model = write_model(tmp_path / "model.onnx")
    target = tmp_path / "labels.csv"
    words = ["--model", model, "-o", target, "--threads", "1", tmp_path / "s.tar"]
    result = CliRunner().invoke(main, list(map(str, words)))
    assert result.exit_code == 1, result.stderr
    assert "2 labelled, 1 failed" in result.stderr
    assert [(row["path"], row["error_code"]) for row in read_csv(target)] == [
        (f"{tmp_path}/s.tar/n01.tar/a.bmp", ""),
        (f"{tmp_path}/s.tar/n02.tar/a.bmp", ""),
        (f"{tmp_path}/s.tar/n02.tar", "corrupt_shard"),
    ]
