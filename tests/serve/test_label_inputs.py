"""Where alexnet-label's photos come from: lists, tables, shards, URLs."""

import gzip
import http.server
import io
import os
import random
import tarfile
import threading
import zipfile
from itertools import islice

import fsspec
import pytest

from alexnet.backends import open_backend
from alexnet.photo import PhotoError
from alexnet.predictor import Predictor
from serve import braces, remote
from serve.folders import in_order
from serve.inputs import InputError, Inputs, entries
from serve.reading import START, ReadAhead, items
from serve.shards import photos_in_shard
from tests.serve.label_runs import add, small_photo, write_model, write_tar

PHOTOS = {f"deep/{number}.bmp": small_photo(number) for number in range(4)}


def listed(*arguments, **others):
    return list(entries(Inputs(arguments=arguments, **others)))


def content(item):
    """What the decoders would get of an item, or the code of the error."""
    try:
        return item.source() if callable(item.source) else item.source
    except PhotoError as error:
        return error.code


# Names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a{0..2}", ["a0", "a1", "a2"]),
        ("{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{a,b}{0..1}", ["a0", "a1", "b0", "b1"]),
        ("{a}{}x", ["{a}{}x"]),
        ("plain", ["plain"]),
    ],
)
def test_braces_count_and_choose(text, names):
    assert list(braces.expand(text)) == names
    assert braces.has_braces(text) == (names != [text])


def test_each_name_of_braces_must_be_there(tmp_path):
    for number in (0, 1):
        (tmp_path / f"{number}.jpg").touch()
    assert listed(f"{tmp_path}/{{1..0}}.jpg") == [f"{tmp_path}/1.jpg", f"{tmp_path}/0.jpg"]
    with pytest.raises(InputError, match=r"There is no file or folder .*/2.jpg"):
        listed(f"{tmp_path}/{{0..2}}.jpg")


def test_braces_may_be_longer_than_a_files_name(tmp_path):
    names = [f"{number:05}.jpg" for number in range(60)]
    for name in names:
        (tmp_path / name).touch()
    assert listed(f"{tmp_path}/{{{','.join(names)}}}") == [f"{tmp_path}/{name}" for name in names]


def test_braces_inside_braces_are_refused(tmp_path):
    for name in "abc":
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="braces inside braces"):
        listed(f"{tmp_path}/{{a,{{b,c}}}}")


@pytest.mark.parametrize("count", [0, 1, 3, 4, 12, 50])
def test_names_are_sorted_by_way_of_the_disk_as_in_memory(count):
    names = [str(number).encode() for number in range(count)]
    random.Random(1).shuffle(names)
    assert list(in_order(names, in_memory=4)) == sorted(names)


# Lists and tables


@pytest.mark.parametrize(
    ("data", "null", "paths"),
    [
        (b"a b.jpg\nlast.jpg", False, ["a b.jpg", "last.jpg"]),
        (b"a.jpg\r\n\nb.jpg\n", False, ["a.jpg", "b.jpg"]),
        (b"new\nline.jpg\0b.jpg\0", True, ["new\nline.jpg", "b.jpg"]),
        (b"caf\xe9.jpg\0", True, ["caf\udce9.jpg"]),
    ],
)
def test_a_list_on_stdin_gives_its_paths(tmp_path, monkeypatch, data, null, paths):
    (tmp_path / "list").write_bytes(data)
    with (tmp_path / "list").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert listed("-", null=null) == paths


def test_a_list_with_nulls_that_was_not_announced_is_not_cut_to_its_first_path(
    tmp_path, monkeypatch
):
    (tmp_path / "list").write_bytes(b"a.jpg\0b.jpg\0")
    with (tmp_path / "list").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        with pytest.raises(InputError, match=r"null character, after a.jpg: .* needs --null"):
            listed("-")


def test_a_stdin_that_is_closed_is_a_sentence(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputError, match="There is no stdin"):
        listed("-")


def test_what_a_pipe_gives_is_not_asked_for_twice(tmp_path):
    os.mkfifo(tmp_path / "table")
    assert not Inputs(manifest=f"{tmp_path}/table").are_countable
    assert not Inputs(arguments=("-",)).are_countable
    assert Inputs(arguments=("a",), manifest=__file__).are_countable


def test_a_tables_paths_begin_at_its_folder(tmp_path):
    table = tmp_path / "photos.csv"
    table.write_bytes(b'\xef\xbb\xbfid,path\n1,"a, b.jpg"\n2,/abs.jpg\n3,s3://bucket/c.jpg\n')
    expected = [f"{tmp_path}/a, b.jpg", "/abs.jpg", "s3://bucket/c.jpg"]
    assert listed(manifest=str(table)) == expected
    (tmp_path / "photos.tsv").write_text("file\tid\nx.jpg\t1\n")
    assert listed(manifest=f"{tmp_path}/photos.tsv", path_column="file") == [f"{tmp_path}/x.jpg"]


def test_parquet_tables_are_read_like_csv(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="reads and writes Parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="reads and writes Parquet")
    names = [f"{number}.jpg" for number in range(25)]
    for kind in (arrow.string(), arrow.large_string(), arrow.dictionary(arrow.int8(), "string")):
        table = arrow.table({"n": range(25), "path": arrow.array(names).cast(kind)})
        parquet.write_table(table, tmp_path / "t.parquet", row_group_size=10)
        found = listed(manifest=f"{tmp_path}/t.parquet")
        assert found == [f"{tmp_path}/{name}" for name in names]
    with pytest.raises(InputError, match=r"The column n of .* holds int64, not text"):
        listed(manifest=f"{tmp_path}/t.parquet", path_column="n")


def test_a_table_may_hold_long_cells(tmp_path):
    (tmp_path / "t.csv").write_text(f"caption,path\n{'x' * 200_000},a.jpg\n")
    assert listed(manifest=f"{tmp_path}/t.csv") == [f"{tmp_path}/a.jpg"]


def test_a_parquet_table_whose_text_is_not_utf8_is_a_sentence(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="writes Parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="writes Parquet")
    names = arrow.array([b"caf\xe9.jpg"]).view(arrow.string())
    parquet.write_table(arrow.table({"path": names}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="can't be read as Parquet: 'utf-8' codec"):
        listed(manifest=f"{tmp_path}/t.parquet")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("t.csv", "id,file\n1,a.jpg\n", "has no column path: its columns are id, file. Name one"),
        ("t.csv", "", "has no column path: its columns are none"),
        ("t.csv", "id,path\n1,a.jpg\n2\n", "has no path in line 3"),
        ("t.csv", 'path\n"a.jpg', "can't be read as CSV, line 2: unexpected end"),
        ("t.parquet", "no Parquet", "can't be read as Parquet"),
        ("t.csv", "path\n", "There are no photos in .*t.csv: folders and tars are searched"),
        ("nowhere.csv", None, "can't be read: No such file or directory"),
    ],
)
def test_a_table_that_cannot_be_read_is_a_sentence(tmp_path, name, text, sentence):
    pytest.importorskip("pyarrow", reason="reads Parquet")
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=sentence):
        listed(manifest=f"{tmp_path}/{name}")


# Shards


def in_shard(path):
    """Names and contents; an error is its code."""
    return [
        (name, content.code if isinstance(content, PhotoError) else content)
        for name, content in photos_in_shard(str(path))
    ]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_shards_photos_come_in_its_order_under_its_name(tmp_path, form):
    names = ["b.bmp", "a.JPG", f"{'long/' * 40}c.png", "ü 木.gif"]
    names = names[:2] if form == tarfile.USTAR_FORMAT else names
    shard = write_tar(
        tmp_path / "s.tar",
        {"b.cls": b"7", **{name: name.encode() for name in names}, "x/._b.bmp": b"", "b.json": b""},
        format=form,
    )
    assert in_shard(shard) == [(f"{shard}/{name}", name.encode()) for name in names]


def test_a_shard_that_breaks_off_anywhere_says_so(tmp_path):
    whole = write_tar(tmp_path / "whole.tar", PHOTOS).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as tar:
        ends = [member.offset_data + member.size for member in tar]
    end = -(-ends[-1] // 512) * 512
    cut = tmp_path / "cut.tar"
    for length in [*range(0, end + 1024, 512), *(n + 1 for n in ends), 700, end - 3]:
        cut.write_bytes(whole[:length])
        found = in_shard(cut)
        complete = [
            data for data, last in zip(PHOTOS.values(), ends, strict=True) if last <= length
        ]
        codes = [] if length >= end + 512 else ["corrupt_shard"]
        assert [content for _, content in found] == complete + codes, length


def test_damage_between_photos_is_not_the_end(tmp_path):
    shard = write_tar(tmp_path / "s.tar", PHOTOS)
    data = bytearray(shard.read_bytes())
    with tarfile.open(shard) as tar:
        third = tar.getmembers()[2].offset
    data[third + 150] ^= 1  # in the header's checksum
    shard.write_bytes(data)
    assert [name.removeprefix(f"{shard}/") for name, _ in in_shard(shard)] == [
        *list(PHOTOS)[:2],
        str(shard),
    ]
    assert in_shard(shard)[-1][1] == "corrupt_shard"


def test_a_zipped_shard_is_read_like_a_plain_one(tmp_path):
    plain = write_tar(tmp_path / "s.tar", PHOTOS)
    zipped = tmp_path / "s.tar.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    assert [data for _, data in in_shard(zipped)] == list(PHOTOS.values())
    zipped.write_bytes(zipped.read_bytes()[:-100])
    assert in_shard(zipped)[-1] == (str(zipped), "corrupt_shard")


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("text.tar", b"no tar at all" * 100, "corrupt_shard"),
        ("empty.tar", b"", "corrupt_shard"),
        ("text.tgz", b"no gzip", "corrupt_shard"),
        ("missing.tar", None, "missing_file"),
    ],
)
def test_what_is_no_shard_is_one_row(tmp_path, name, data, code):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    assert in_shard(tmp_path / name) == [(f"{tmp_path}/{name}", code)]


def test_reading_goes_on_from_every_place(tmp_path):
    shards = [str(write_tar(tmp_path / f"{n}.tar", PHOTOS)) for n in range(2)]
    (tmp_path / "cut.tar").write_bytes((tmp_path / "0.tar").read_bytes()[:1500])
    list_ = ["a.jpg", shards[0], f"{tmp_path}/cut.tar", f"{tmp_path}/none.tar", "b.jpg", shards[1]]
    whole = list(items(list_))
    assert len(whole) == 2 + 4 + 1 + 1 + 4
    for number, item in enumerate(whole, 1):
        rest = list(items(list_, start=item.next))
        assert [(i.path, content(i)) for i in rest] == [
            (i.path, content(i)) for i in whole[number:]
        ]


def test_what_the_reader_meets_comes_after_the_items_before():
    def broken():
        yield from items(["a", "b"])
        raise OSError("gone")

    ahead = ReadAhead(broken(), ahead=1)
    seen = []
    with pytest.raises(OSError, match="gone"):
        seen.extend(item.path for item in ahead)
    assert START == (0, 0)


# URLs


@pytest.fixture
def memory():
    """fsspec's store in memory, with three photos and a shard."""
    files = fsspec.filesystem("memory")
    for number in range(3):
        files.pipe(f"/bucket/p{number}.bmp", small_photo(number))
    files.pipe("/bucket/deep/z.jpg", b"z")
    files.pipe("/bucket/notes.txt", b"")
    files.pipe("/bucket/.hidden.jpg", b"")
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name, data in PHOTOS.items():
                add(tar, name, data)
        files.pipe("/bucket/s.tar", file.getvalue())
    yield files
    files.rm("/bucket", recursive=True)


def test_a_stores_folder_glob_and_file_are_found(memory):
    photos = [f"memory:///bucket/p{number}.bmp" for number in range(3)]
    same = [url.replace(":///", "://") for url in ["memory:///bucket/deep/z.jpg", *photos]]
    found = [url.replace(":///", "://") for url in listed("memory://bucket")]
    assert found == same
    found = [url.replace(":///", "://") for url in listed("memory://bucket/p*.bmp")]
    assert found == same[1:]
    assert listed("memory://bucket/p{0..1}.bmp", "memory://bucket/none.jpg") == [
        *("memory://bucket/p0.bmp", "memory://bucket/p1.bmp", "memory://bucket/none.jpg"),
    ]


def test_photos_of_a_store_are_read(memory):
    urls = ["memory://bucket/p1.bmp", "memory://bucket/none.jpg", "memory://bucket/s.tar"]
    found = list(items([*urls, "memory://bucket/none.tar"]))
    assert [content(item) for item in found] == [
        *(small_photo(1), "missing_file", *PHOTOS.values(), "missing_file"),
    ]
    assert found[2].path == "memory://bucket/s.tar/deep/0.bmp"
    assert next(items(urls, start=found[3].next)).path == found[4].path


@pytest.mark.parametrize("left", [0, 15])
def test_the_threads_that_read_urls_end(memory, left):
    """Also after a consumer that stops before the last `left` photos."""
    urls = ["memory://bucket/p1.bmp"] * 20
    found = items(urls, readers=4)
    for item in islice(found, 20 - left):
        assert content(item) == small_photo(1)
    mine = [thread for thread in threading.enumerate() if thread.name == "alexnet-read"]
    found.close()
    for thread in mine:
        thread.join(10)
        assert not thread.is_alive()


def test_photos_in_an_archive_are_named_with_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.bmp", small_photo(0))
        archive.writestr("deep/b.bmp", small_photo(1))
    end = f"::file://{tmp_path}/x.zip"
    assert listed(f"zip://*.bmp{end}") == [f"zip://a.bmp{end}"]
    assert listed(f"zip://deep{end}") == [f"zip://deep/b.bmp{end}"]
    assert content(next(items(listed(f"zip://deep{end}")))) == small_photo(1)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("none://x/a.jpg", "none://x/a.jpg can't be read: Protocol not known: none"),
        ("memory://nothing/*.jpg", "No file matches memory://nothing"),
    ],
)
def test_a_url_that_cannot_be_listed_is_a_sentence(url, sentence):
    with pytest.raises(InputError, match=sentence):
        listed(url)


class _Server(http.server.BaseHTTPRequestHandler):
    """Serves a photo, a shard, an answer that passes, and one that does not."""

    failures = 0
    shard = b""

    def do_GET(self):
        name = self.path.partition("?")[0]
        status, data = {
            "/photo.bmp": (200, small_photo(0)),
            "/s.tar": (200, self.shard),
            "/once.bmp": (503 if _Server.failures == 0 else 200, small_photo(1)),
            "/broken.bmp": (500, b""),
        }.get(name, (404, b""))
        _Server.failures += name == "/once.bmp"
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def address(tmp_path):
    _Server.shard = write_tar(tmp_path / "s.tar", PHOTOS).read_bytes()
    _Server.failures = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_photos_behind_http_are_read_and_tried_again(monkeypatch, address):
    monkeypatch.setattr(remote, "_PAUSE", 0.01)
    names = ["photo.bmp?key=*[1]", "once.bmp", "broken.bmp", "none.bmp", "s.tar?x=1", "none.tar"]
    urls = [f"{address}/{name}" for name in names]
    assert listed(*urls) == urls
    found = [content(item) for item in items(urls)]
    expected = [small_photo(0), small_photo(1), "unreadable_file", "missing_file"]
    assert found == [*expected, *PHOTOS.values(), "missing_file"]


def test_a_server_that_is_not_there_is_a_sentence(monkeypatch):
    monkeypatch.setattr(remote, "_PAUSE", 0.0)
    with pytest.raises(PhotoError, match=r"'http://127.0.0.1:1/a.jpg' cannot be read: "):
        remote.read_url("http://127.0.0.1:1/a.jpg")


def test_a_photo_past_the_limit_is_not_read(monkeypatch, address, tmp_path):
    monkeypatch.setattr(remote, "MAX_BYTES", 1000)
    monkeypatch.setattr("serve.shards.MAX_BYTES", 1000)
    with pytest.raises(PhotoError, match="has more than") as caught:
        remote.read_url(f"{address}/photo.bmp")
    assert caught.value.code == "file_too_large"
    assert {code for _, code in in_shard(tmp_path / "s.tar")} == {"file_too_large"}


def test_sources_are_read_where_photos_are_decoded(tmp_path):
    backend = open_backend(write_model(tmp_path / "m.onnx"), threads=1)
    predictor = Predictor(backend)
    here, seen = threading.current_thread(), []

    def source():
        seen.append(threading.current_thread())
        return small_photo(3)

    def fail():
        raise PhotoError("Not there.", code="made_up")

    lazy, failed, plain = predictor.predict([source, fail, small_photo(3)])
    assert seen != [here]
    assert lazy.scores[0].label == plain.scores[0].label
    assert failed.error.code == "made_up"
