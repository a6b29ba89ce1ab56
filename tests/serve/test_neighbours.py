"""`alexnet-label neighbours`: exact nearest neighbours of photos by their features."""

import json
import os
import re
import resource
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from serve.feature_index import FeatureIndex, IndexFileError
from serve.label import main
from serve.nearest import Nearest
from serve.neighbours import find, row_queries
from tests.photos import encode, imagenet_samples, pattern
from tests.serve.label_runs import write_model, write_photos, write_tar

arrow = pytest.importorskip("pyarrow", reason="neighbours are found in Parquet files")
parquet = pytest.importorskip("pyarrow.parquet", reason="neighbours are found in Parquet files")

SAID = {"model": "model.onnx", "model_sha256": "0" * 64, "views": "ten"}


def neighbours(*words):
    return CliRunner().invoke(main, ["neighbours", *map(str, words)])


def found_by(*words):
    """(query's path, [(row, distance)]) of each query."""
    result = neighbours(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return [
        (query["path"], [(near["row"], near["distance"]) for near in query["neighbours"]])
        for query in json.loads(result.stdout)["queries"]
    ]


def write_index(file, features, **columns):
    """A labelling's table with these features; None where a photo failed."""
    count = len(features)
    table = {
        "path": [f"{number}.jpg" for number in range(count)],
        "label": ["thing"] * count,
        **{name: [value] * count for name, value in SAID.items()},
        "features": arrow.array(
            [None if row is None else list(row) for row in features], arrow.list_(arrow.float32())
        ),
    }
    parquet.write_table(arrow.table(table | columns), file, row_group_size=100)
    return file


def brute_force(index, queries, count):
    """In float64, all differences at once; of equal ones the earlier row first."""
    squares = ((index[None].astype(float) - queries[:, None].astype(float)) ** 2).sum(-1)
    best = np.argsort(squares, axis=1, kind="stable")[:, :count]
    return best, np.sqrt(np.take_along_axis(squares, best, 1))


# The search


@pytest.mark.parametrize("block", [3, 64, 1000])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_nearest_are_those_of_brute_force(block, scale):
    rng = np.random.default_rng(block)
    index = np.maximum(rng.normal(size=(1000, 300)), 0).astype(np.float32) * np.float32(scale)
    index[500:520] = index[40]
    index[600] = np.nextafter(index[40], np.float32(np.inf))  # the last digit of every number
    queries = np.concatenate([index[[40, 999]], rng.normal(size=(3, 300)).astype(np.float32)])
    search = Nearest(queries, 25)
    for start in range(0, 1000, block):
        rows = np.arange(start, min(start + block, 1000))
        search.add(rows, index[rows])
    rows, distances = brute_force(index, queries, 25)
    for query, found in enumerate(search.found()):
        assert found.rows.tolist() == rows[query].tolist()
        np.testing.assert_allclose(found.distances, distances[query], rtol=1e-12)


def test_rows_that_differ_less_than_float32_products_can_tell_are_told_apart():
    """All rows lie 5000 from the origin and within 0.01 of each other: a product in float32 is off
    by more than that."""
    rng = np.random.default_rng(0)
    middle = rng.uniform(50, 100, 4096).astype(np.float32)
    index = middle + rng.uniform(-2e-4, 2e-4, (50, 4096)).astype(np.float32)
    search = Nearest(middle[None], 5)
    search.add(np.arange(50), index)
    rows, distances = brute_force(index, middle[None], 5)
    assert search.found()[0].rows.tolist() == rows[0].tolist()
    np.testing.assert_allclose(search.found()[0].distances, distances[0], rtol=1e-12)


def test_huge_numbers_and_broken_rows_do_not_hide_neighbours():
    """Squares of 1e25 are too large for float32. By hand: the distances are 1e25, 2e25, 3e25."""
    index = np.array([[4e25, 0], [np.nan, 0], [3e25, 0], [np.inf, 0], [2e25, 0]], np.float32)
    search = Nearest(np.array([[1e25, 0]], np.float32), 4)
    search.add(np.arange(5), index)
    assert search.found()[0].rows.tolist() == [4, 2, 0]
    np.testing.assert_allclose(search.found()[0].distances, [1e25, 2e25, 3e25], rtol=1e-6)


# The index


def test_an_index_may_have_more_parts_than_files_can_be_open(tmp_path):
    """Points on a line, one in each of 60 parts, and room for 20 files more than there are."""
    for number in range(60):
        columns = {"path": [f"{number}.jpg"]}
        write_index(tmp_path / f"part-{number:05}.parquet", [(float(number),)], **columns)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
    free = [number for number in range(1000) if number not in taken]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[20], limits[1]))
    try:
        index = FeatureIndex(tmp_path)
        assert index.rows == 60
        assert index.model().sha256 == SAID["model_sha256"]
        assert [row.path for row in index.look_up([59, 0]).values()] == ["0.jpg", "59.jpg"]
        found = find(index, row_queries(index, [30]), 3)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [near.path for near in found[0].neighbours] == ["30.jpg", "29.jpg", "31.jpg"]


def test_parts_stand_in_the_order_of_their_numbers(tmp_path):
    for name in ("part-100000", "part-99999", "part-100001"):
        write_index(tmp_path / f"{name}.parquet", [(0.0,)], path=[name])
    rows = FeatureIndex(tmp_path).look_up(range(3))
    assert [row.path for row in rows.values()] == ["part-99999", "part-100000", "part-100001"]


def test_rows_of_a_made_index_by_hand(tmp_path):
    """Points of a plane; row 1 failed, and rows 2 and 4 are equally near to row 0."""
    points = [(0, 0), None, (3, 4), (0, 1), (-3, 4), (30, 40)]
    index = write_index(tmp_path / "labels.parquet", points)
    assert found_by(index, "--query-rows", "0,5", "--count", "4") == [
        ("0.jpg", [(0, 0.0), (3, 1.0), (2, 5.0), (4, 5.0)]),
        ("5.jpg", [(5, 0.0), (2, 45.0), (4, np.hypot(33, 36)), (3, np.hypot(30, 39))]),
    ]
    table = neighbours(index, "--query-rows", "0", "--count", "2").stdout
    assert [line.split() for line in table.splitlines()[3:]] == [
        ["|", "0.jpg", "|", "1", "|", "0.jpg", "|", "0.000", "|"],
        ["|", "0.jpg", "|", "2", "|", "3.jpg", "|", "1.000", "|"],
    ]


def test_a_folder_of_parts_is_one_index(tmp_path):
    features = np.random.default_rng(0).normal(size=(2500, 16)).astype(np.float32)
    for part in range(3):
        write_index(tmp_path / f"part-{part:05}.parquet", features[part * 1000 :][:1000])
    rows, distances = brute_force(features, features[[2499, 7]], 6)
    found = found_by(tmp_path, "--query-rows", "2499,7")
    for (_, near), best, far in zip(found, rows, distances, strict=True):
        assert [row for row, _ in near] == best.tolist()
        np.testing.assert_allclose([distance for _, distance in near], far, rtol=1e-12)


def test_an_index_of_fewer_rows_than_asked_for_gives_them_all(tmp_path):
    index = write_index(tmp_path / "labels.parquet", [(0.0,), (2.0,)])
    assert found_by(index, "--query-rows", "1") == [("1.jpg", [(1, 0.0), (0, 2.0)])]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "There is nothing to look for: name photos, or give --query-rows."),
        (["--query-rows", "0-3"], "has the rows 0 to 2, and no row 3."),
        (["--query-rows", "1"], "has no features: it failed."),
        (["--query-rows", "5-2"], "'5-2' is empty"),
        (["--query-rows", "x"], "'x' is neither a row's number nor a range"),
        (["--query-rows", "0", "-o", "sheet.pdf"], "sheet.pdf must end in .html or .png."),
        (["--query", "gone.jpg", "--model", "gone.onnx"], "There is no model gone.onnx."),
    ],
)
def test_what_makes_no_sense_is_a_sentence(tmp_path, words, sentence):
    index = write_index(tmp_path / "labels.parquet", [(0, 0), None, (3, 4)])
    result = neighbours(index, *words)
    assert result.exit_code in (1, 2)
    assert sentence in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda path: path.unlink(), "There is no file or folder"),
        (lambda path: path.write_text("a,b"), "is not a whole Parquet file"),
        (
            lambda path: parquet.write_table(arrow.table({"path": ["a"]}), path),
            "has no column 'features': label with --features.",
        ),
        (lambda path: write_index(path, [(0, 0), (1, 2, 3)]), "different numbers of features"),
    ],
)
def test_what_is_no_index_is_a_sentence(tmp_path, break_it, sentence):
    path = write_index(tmp_path / "labels.parquet", [(0, 0)])
    break_it(path)
    result = neighbours(path, "--query-rows", "0")
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unfinished_run_is_no_index(tmp_path):
    write_index(tmp_path / "part-00000.parquet", [(0, 0)])
    (tmp_path / "run.json").write_text('{\n  "state": "running"\n}\n')
    with pytest.raises(IndexFileError, match="unfinished"):
        FeatureIndex(tmp_path)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"model_sha256": ["0" * 64, "1" * 64]}, "has features of 2 models"),
        ({}, "was made with model.onnx (SHA-256 000000000000...), and"),
    ],
)
def test_photos_are_not_compared_with_features_of_another_model(
    tmp_path, model_path, columns, sentence
):
    index = write_index(tmp_path / "labels.parquet", [(0, 0), (3, 4)], **columns)
    result = neighbours(index, "--query", model_path, "--model", model_path)
    assert result.exit_code == 1
    assert sentence in result.stderr


def test_timms_columns_do_not_say_the_model(tmp_path, model_path):
    """Their rows have neighbours all the same."""
    features = arrow.array([[0.0], [2.0]], arrow.list_(arrow.float32()))
    table = arrow.table({"filename": ["a.jpg", "b.jpg"], "features": features})
    parquet.write_table(table, tmp_path / "timm.parquet")
    assert found_by("timm.parquet", "--query-rows", "1") == [("b.jpg", [(1, 0.0), (0, 2.0)])]
    result = neighbours("timm.parquet", "--query", "a.jpg")
    assert result.exit_code == 1
    assert "does not say which model its features are from" in result.stderr


# Photos, from labelling to the sheet


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Forty photos and a shard of ten more, labelled with features; photo 7 is torn."""
    folder = tmp_path_factory.mktemp("neighbours")
    write_model(folder / "model.onnx")
    write_photos(folder / "photos", 40)
    shard = {f"{key}.png": encode(pattern(60, 50, seed=200 + key)) for key in range(10)}
    write_tar(folder / "s.tar", shard)
    words = ["photos", "s.tar", "--model", "model.onnx", "--features", "-o", "labels/"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(main, [*words, "--format", "parquet", "--threads", "1"])
    assert result.exit_code == 1
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_photo_of_the_index_finds_itself_first(labelled):
    query = labelled / "photos" / "00012.bmp"
    words = (labelled / "labels", query, "--model", labelled / "model.onnx", "--threads", "1")
    ((path, near),) = found_by(*words, "--count", "3")
    assert path == str(query)
    assert near[0][0] == 12
    assert near[0][1] < 1e-4 * near[1][1]
    # What the photo's own row finds is the same.
    ((_, same),) = found_by(labelled / "labels", "--query-rows", "12", "--count", "3")
    assert same[0] == (12, 0.0)
    assert [row for row, _ in same] == [row for row, _ in near]


def test_a_query_that_can_not_be_read_is_a_sentence(labelled):
    torn = labelled / "photos" / "00007.bmp"
    result = neighbours(labelled / "labels", torn, "--model", labelled / "model.onnx")
    assert result.exit_code == 1
    assert f"The query {torn} has no features: " in result.stderr


class Page(HTMLParser):
    """The pictures of a sheet, as alt texts, its grey tiles, and whatever it would load."""

    def __init__(self, text):
        super().__init__()
        self.pictures, self.gone, self.loads, self._in_gone = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "img":
            self.pictures.append(values["alt"])
            assert values["src"].startswith("data:image/jpeg;base64,")
        elif tag in ("link", "script", "iframe") or "src" in values or "href" in values:
            self.loads.append(tag)
        self._in_gone = values.get("class") == "gone"

    def handle_data(self, data):
        if self._in_gone:
            self.gone.append(data)
            self._in_gone = False


def test_the_page_holds_every_photo_and_loads_nothing(labelled):
    words = (labelled / "labels", "--query-rows", "3,45", "--count", "50", "-o", "sheet.html")
    result = neighbours(*words)
    assert result.stderr == "2 queries -> sheet.html\n"
    text = Path("sheet.html").read_text("utf-8")
    page = Page(text)
    assert (page.gone, page.loads) == ([], [])
    assert not re.search(r"url\(|@import|https?:", text)
    good = {f"photos/{number:05}.bmp" for number in range(40)} - {
        f"photos/{number:05}.bmp" for number in (7, 38)
    }
    near = good | {f"s.tar/{key}.png" for key in range(10)}
    assert sorted(page.pictures) == sorted([*near, *near, "photos/00003.bmp", "s.tar/5.png"])
    assert page.pictures[:2] == ["photos/00003.bmp"] * 2  # the query, and itself


def test_what_is_gone_has_a_grey_tile_with_its_path(labelled, tmp_path):
    shutil.copytree(labelled / "photos", tmp_path / "photos")
    (tmp_path / "photos" / "00003.bmp").unlink()
    words = (labelled / "labels", "--query-rows", "3", "--count", "60", "--photos", tmp_path)
    result = neighbours(*words, "-o", "sheet.html")
    assert result.stderr == "1 query, 11 photos not found -> sheet.html\n"
    page = Page(Path("sheet.html").read_text("utf-8"))
    assert sorted(page.gone) == sorted(
        [*["photos/00003.bmp"] * 2, *(f"s.tar/{key}.png" for key in range(10))]
    )
    assert neighbours(*words, "-o", "sheet.png").exit_code == 0
    with Image.open("sheet.png") as sheet:
        # 16 pixels of paper, then the query, framed in blue outside, then its grey.
        assert sheet.getpixel((2, 2)) == (255, 255, 255)
        assert sheet.getpixel((14, 60)) == (0x2F, 0x5B, 0xD0)
        assert sheet.getpixel((20, 170)) == (0xD9, 0xD9, 0xD6)


def test_the_picture_shows_query_and_neighbours_in_order(tmp_path):
    """Photos of one colour each, whose features are their places on a line."""
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    for number, colour in enumerate(colours):
        Image.new("RGB", (300, 200), colour).save(f"{number}.jpg", quality=100)
    index = write_index(tmp_path / "labels.parquet", [(0.0,), (10.0,), (4.0,)])
    assert neighbours(index, "--query-rows", "0", "-o", "sheet.png").exit_code == 0
    with Image.open("sheet.png") as sheet:
        # A tile of 160 every 176 pixels, one more gap of 16 behind the query.
        shown = [sheet.getpixel((x, 100)) for x in (96, 288, 464, 640)]
    order = [colours[0], colours[0], colours[2], colours[1]]
    np.testing.assert_allclose(shown, order, atol=4)


def test_names_and_labels_can_not_break_the_page(tmp_path):
    bad = '<script>alert("1")</script>'
    columns = {"path": [bad, "b.jpg"], "label": [bad, "<b>"]}
    index = write_index(tmp_path / "labels.parquet", [(0, 0), (3, 4)], **columns)
    assert neighbours(index, "--query-rows", "0", "-o", "sheet.html").exit_code == 0
    page = Page(Path("sheet.html").read_text("utf-8"))
    assert page.loads == []
    assert page.gone == [bad, bad, "b.jpg"]


def test_a_folder_called_neighbours_can_be_labelled(labelled, tmp_path):
    shutil.copytree(labelled / "photos", tmp_path / "neighbours")
    words = ["./neighbours", "--model", str(labelled / "model.onnx"), "-o", "a.csv"]
    assert CliRunner().invoke(main, words).exit_code == 1  # some are torn
    assert Path("a.csv").read_text("utf-8").count("\n") == 41


@pytest.mark.shared
def test_real_photos_find_themselves(tmp_path, model_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in imagenet_samples()[:12]:
        shutil.copy(path, folder)
    words = ["photos", "--features", "--views", "centre", "-o", "labels.parquet"]
    assert CliRunner().invoke(main, words).exit_code == 0
    for number, (_, near) in enumerate(found_by("labels.parquet", "photos", "--count", "2")):
        assert near[0][0] == number
        assert near[0][1] < 1e-3 * near[1][1]


# Names that no terminal and no picture can show


WILD = "photos/a\nb\t\x1b[31m.jpg"
SHOWN = r"photos/a\nb\t\x1b[31m.jpg"


def test_a_path_with_the_end_of_a_line_is_shown_in_one(tmp_path):
    columns = {"path": [WILD, "b.jpg"], "label": ["two\nlines", "thing"]}
    index = write_index(tmp_path / "labels.parquet", [(0.0,), (2.0,)], **columns)
    result = neighbours(index, "--query-rows", "0", "-o", "sheet.png")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "1 query, 2 photos not found -> sheet.png\n"
    assert [line.split(" | ")[0] for line in result.stdout.splitlines()[3:]] == [f"| {SHOWN}"] * 2
    assert Image.open("sheet.png").width > 500
    assert neighbours(index, "--query-rows", "0", "-o", "sheet.html").exit_code == 0
    assert Page(Path("sheet.html").read_text("utf-8")).gone == [SHOWN, SHOWN, "b.jpg"]
    assert json.loads(neighbours(index, "--query-rows", "0", "--json").stdout)["queries"][0][
        "path"
    ] == (WILD)


@pytest.mark.parametrize("features", [(), ("--features",)])
def test_a_parquet_file_may_have_any_name_that_the_disk_takes(labelled, tmp_path, features):
    """Of 40 photos in parts of 16, two are torn; row 3 is looked for."""
    target = Path(os.fsdecode(os.fsencode(tmp_path) + b"/o\xff.parquet"))
    words = [labelled / "photos", "--model", labelled / "model.onnx", "-o", target, *features]
    words += ["--part-photos", "16", "--batch", "4", "--threads", "1"]
    result = CliRunner().invoke(main, list(map(os.fspath, words)))
    assert "38 labelled, 2 failed" in result.stderr
    with target.open("rb") as file:
        assert parquet.read_table(file).num_rows == 40
    found = neighbours(target, "--query-rows", "3", "-o", "sheet.html")
    if features:
        assert found.exit_code == 0, found.stderr
        assert r"photos of o\xff.parquet (40 rows)" in Path("sheet.html").read_text("utf-8")
    else:
        assert "has no column 'features': label with --features." in found.stderr
