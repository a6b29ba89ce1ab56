"""Tars as streams: what tarfile finds in whole ones, and no silence about damaged ones."""

import bz2
import gzip
import io
import lzma
import random
import tarfile

import pytest

from alexnet.tars import (
    ForwardReader,
    TarDamageError,
    TarPackingError,
    compression,
    entries,
    open_tar,
)

BLOCK = 512
PACKINGS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


def photos(count=12, prefix="a", size=1000):
    """{path: random bytes} of growing sizes; random, so that no zeros lie in them."""
    source = random.Random(prefix)
    return {f"{prefix}/{n}.jpg": source.randbytes(size + 137 * n) for n in range(count)}


def tar(files, *, format=tarfile.GNU_FORMAT, pax_headers=None, end=True):
    """The bytes of a tar; `end=False`: without its end marker and what fills the record."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format, pax_headers=pax_headers) as file:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
        last = file.offset
    return out.getvalue() if end else out.getvalue()[:last]


class Pipe:
    """Gives a few bytes at a time and can't jump, as a web server does."""

    def __init__(self, data, most=700):
        self.file, self.most = io.BytesIO(data), most

    def read(self, size):
        return self.file.read(min(size, self.most))


class Liar(Pipe):
    """Says that it can jump, and can't."""

    def seek(self, position):
        raise OSError("no jumping here")


def read(data):
    """{name: bytes} of a tar, read through `open_tar`."""
    stream = open_tar(data if hasattr(data, "read") else io.BytesIO(data))
    found = {}
    for entry in entries(stream):
        stream.seek(entry.offset)
        found[entry.name] = stream.read(entry.length)
    return found


# Whole tars


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("start", [0, 512, 700])
def test_entries_are_those_that_tarfile_finds(format, start):
    names = ("1.jpg", "a/" * 60 + "long.jpg", "x" * 95 + ".jpg", "größer.jpg", "n/" * 20 + "b.png")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format, pax_headers={"comment": "x"}) as file:
        for size, name in enumerate(names):
            entry = tarfile.TarInfo(name)
            entry.size = 300 * size
            file.addfile(entry, io.BytesIO(bytes(entry.size)))
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            entry = tarfile.TarInfo("folder/special.jpg")
            entry.type, entry.linkname = kind, "1.jpg"
            file.addfile(entry)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as file:
        known = [(e.name, start + e.offset_data, e.size, e.linkname) for e in file]
    data = bytes(start) + out.getvalue()
    found = list(entries(io.BytesIO(data + b"more"), start=start, end=len(data)))
    assert [(e.name, e.offset, e.length, e.target) for e in found] == known
    kinds = ["folder", "symbolic_link", "hard_link", "other"]
    assert [entry.kind for entry in found] == ["file"] * len(names) + kinds


def test_a_sparse_file_is_told_from_one_whose_bytes_lie_in_one_piece():
    name = b"GNUSparseFile.0/a.jpg"
    fields = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a.jpg"}
    entry = tarfile.TarInfo(name.decode())
    entry.size, entry.pax_headers = 1024, fields | {"GNU.sparse.realsize": "512"}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as file:
        file.addfile(entry, io.BytesIO(b"1\n0\n512\n".ljust(512, b"\0") + b"x" * 512))
    assert [(e.name, e.kind) for e in entries(io.BytesIO(out.getvalue()))] == [("a.jpg", "sparse")]


@pytest.mark.parametrize("source", [io.BytesIO, Pipe, Liar])
@pytest.mark.parametrize("packing", [None, *PACKINGS])
def test_a_tar_is_read_whatever_packs_it_and_wherever_it_comes_from(source, packing):
    files = photos()
    data = tar(files) if packing is None else PACKINGS[packing](tar(files))
    assert read(source(data)) == files


def test_a_plain_local_file_without_a_buffer_is_not_wrapped(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar(photos()))
    with (tmp_path / "a.tar").open("rb", buffering=0) as file:
        assert open_tar(file) is file
        assert len(list(entries(file))) == 12


@pytest.mark.parametrize("name", ["BZhang/1.jpg", "LZIPPY/1.jpg", "PK/1.jpg", "7z/1.jpg"])
def test_a_name_with_the_letters_of_a_packer_does_not_pack_a_tar(name):
    assert read(tar({name: b"photo"})) == {name: b"photo"}


def test_a_global_header_does_not_hide_what_follows():
    files = photos(3)
    assert read(tar(files, format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"})) == files


def test_a_tar_in_a_tar_is_read_forwards():
    inner = photos(4, "in")
    outer = {"before.jpg": b"b" * 3000, "in.tar": tar(inner), "behind.jpg": b"c" * 700}
    stream, found = open_tar(Pipe(tar(outer))), {}
    for entry in entries(stream):
        if entry.name == "in.tar":
            for small in entries(stream, start=entry.offset, end=entry.offset + entry.length):
                stream.seek(small.offset)
                found[small.name] = stream.read(small.length)
    assert found == inner


# One behind another


@pytest.mark.parametrize("packing", [None, *PACKINGS])
def test_tars_behind_each_other_are_read_on(packing):
    pack = PACKINGS.get(packing, bytes)
    first, second, third = photos(3, "a"), photos(4, "b"), photos(5, "c")
    assert read(pack(tar(first)) + pack(tar(second)) + pack(tar(third))) == first | second | third


def test_a_tar_with_the_shortest_end_marker_is_read_on():
    first, second = photos(3, "a"), photos(3, "b")
    assert read(tar(first, end=False) + bytes(2 * BLOCK) + tar(second)) == first | second


@pytest.mark.parametrize("zeros", [BLOCK, 2 * BLOCK, 2 * BLOCK + 100, 10**6])
def test_zeros_to_the_end_are_an_end(zeros):
    files = photos(3)
    assert read(tar(files, end=False) + bytes(zeros)) == files


@pytest.mark.parametrize("zeros", [1, 700])
def test_zeros_behind_a_packed_tar_are_filling(zeros):
    files = photos(3)
    assert read(gzip.compress(tar(files)) + bytes(zeros)) == files


# Damage


def header(data, name):
    """Where the header of `name` begins."""
    return data.index(name.encode() + b"\0")


def zeroed(data, start, end):
    return data[:start] + bytes(end - start) + data[end:]


def damaged():
    """{what: the bytes of a damaged tar}."""
    whole = tar(photos(30))
    fifth, sixth, ninth = (header(whole, f"a/{n}.jpg") for n in (5, 6, 9))
    flipped = bytearray(whole)
    flipped[fifth] ^= 1
    return {
        "a zeroed header": zeroed(whole, fifth, fifth + BLOCK),
        "a photo of zeros with its header": zeroed(whole, fifth, sixth),
        "three photos of zeros": zeroed(whole, fifth, ninth),
        "a hole from photo to photo": zeroed(whole, fifth - 600, ninth + 700),
        "a hole of 12 KiB": zeroed(whole, fifth, fifth + 12 * 1024),
        "a hole up to the end marker": zeroed(whole, fifth, len(whole) - 600) + b"\1" * BLOCK,
        "a lone block of zeros": whole[:fifth] + bytes(BLOCK) + whole[fifth:],
        "a changed header": bytes(flipped),
        "cut in a photo": whole[: fifth + 700],
        "cut in a header": whole[: fifth + 100],
        "cut between two photos": whole[:fifth],
        "text behind the end": whole + b"more" * 300,
        "half a header behind the end": whole + whole[:300],
        "text": b"no tar at all " * 1000,
        "nothing": b"",
    }


@pytest.mark.parametrize("kind", damaged())
@pytest.mark.parametrize("packing", [None, *PACKINGS])
def test_damage_is_an_error_and_no_end(kind, packing):
    data = damaged()[kind]
    with pytest.raises(TarDamageError):
        read(data if packing is None else PACKINGS[packing](data))


@pytest.mark.parametrize("kind", damaged())
def test_damage_in_a_tar_in_a_tar_is_an_error(kind):
    whole = tar({"in.tar": damaged()[kind]})
    stream = io.BytesIO(whole)
    inner = next(entries(stream))
    with pytest.raises(TarDamageError):
        list(entries(stream, start=inner.offset, end=inner.offset + inner.length))


def test_what_lies_before_the_damage_is_given():
    found = entries(io.BytesIO(damaged()["a zeroed header"]))
    assert [next(found).name for _ in range(5)] == [f"a/{number}.jpg" for number in range(5)]
    # Five headers, and photos of 2, 3, 3, 3 and 4 blocks.
    with pytest.raises(TarDamageError, match=r"from byte 10,240 to byte 10,752 zeros lie where"):
        next(found)


@pytest.mark.parametrize("more", [b"\n", b"more" * 300])
def test_bytes_behind_the_end_are_not_called_an_early_end(more):
    with pytest.raises(TarDamageError, match="and what follows is not empty"):
        read(tar(photos()) + more)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("cut", [-1, -4, -30, 2000])
def test_a_packed_stream_that_is_cut_off_is_an_error(packing, cut):
    with pytest.raises(TarDamageError, match="it ends early"):
        read(PACKINGS[packing](tar(photos()))[:cut])


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_flipped_bit_in_a_packed_stream_is_an_error(packing):
    data = bytearray(PACKINGS[packing](tar(photos())))
    data[len(data) // 2] ^= 0x10
    with pytest.raises(TarDamageError, match=f"what {packing} packed is damaged|damaged|header"):
        read(bytes(data))


@pytest.mark.parametrize("packing", PACKINGS)
def test_other_bytes_behind_a_packed_stream_are_an_error(packing):
    with pytest.raises(TarDamageError, match=f"behind what {packing} packed lie other bytes"):
        read(PACKINGS[packing](tar(photos())) + b"and more of them")


def test_many_extended_headers_in_a_row_are_an_error_and_no_crash():
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 4
    link = entry.tobuf(tarfile.GNU_FORMAT) + b"name".ljust(BLOCK, b"\0")
    with pytest.raises(TarDamageError, match="extended headers"):
        read(link * 5000)


def test_an_extended_header_can_not_ask_for_all_memory():
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    with pytest.raises(TarDamageError, match="more than 1 MiB"):
        read(entry.tobuf(tarfile.GNU_FORMAT) + b"x" * 5000)


@pytest.mark.parametrize(
    ("magic", "name"),
    [
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"PK\x03\x04", "zip"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"Rar!\x1a\x07", "RAR"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"LZIP\x01", "lzip"),
    ],
)
def test_what_is_packed_otherwise_is_named(magic, name):
    data = magic + b"\0" * 2000
    with pytest.raises(TarPackingError, match=f"packed with {name}, which is not read: unpack it"):
        open_tar(io.BytesIO(data))
    assert compression(data[:10]) == name


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_packed_tar_in_a_tar_is_named(packing):
    stream = io.BytesIO(tar({"in.tar": PACKINGS[packing](tar(photos()))}))
    inner = next(entries(stream))
    with pytest.raises(TarPackingError, match=f"it is packed with {packing}: unpack it first"):
        list(entries(stream, start=inner.offset, end=inner.offset + inner.length))


def test_a_reader_that_goes_forwards_gives_exactly_what_is_asked_for():
    reader = ForwardReader(Pipe(b"0123456789" * 1000, most=3), b"")
    assert (reader.read(12), reader.tell()) == (b"012345678901", 12)
    reader.seek(9_995)
    assert reader.read(20) == b"56789"
    with pytest.raises(TarDamageError, match="backwards"):
        reader.seek(5)
