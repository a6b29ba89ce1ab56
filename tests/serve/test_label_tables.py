"""Tables and lists of photos as spreadsheets, editors and other systems write them."""

import codecs

import pytest
from click.testing import CliRunner

from serve.inputs import InputError, Inputs, entries
from serve.label import main
from serve.manifests import encoding_of
from serve.reading import items


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(data, name="t.csv", **others):
    """The paths of a table in the current folder."""
    with open(name, "wb") as file:  # noqa: PTH123
        file.write(data if isinstance(data, bytes) else data.encode())
    return list(entries(Inputs(manifest=name, **others)))


# Delimiters


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("id;path;note\n1;a, b.jpg;x|y\n", ["a, b.jpg"]),
        ("id\tpath\n1\ta;b.jpg\n", ["a;b.jpg"]),
        ("id|path\n1|a.jpg\n", ["a.jpg"]),
        ("id,path\n1,a;b.jpg\n", ["a;b.jpg"]),
        ('"id; or number",path\n1,a.jpg\n', ["a.jpg"]),
        ("path\na;b|c\td.jpg\n", ["a;b|c\td.jpg"]),  # one column: nothing parts its names
        ("note, more;path\nx;a.jpg\n", ["a.jpg"]),
        ("sep=;\npath;id\na.jpg;1\n", ["a.jpg"]),
        ("sep=\t\r\npath\tid\r\na.jpg\t1\r\n", ["a.jpg"]),
        ('"sep=#"\npath#id\na.jpg#1\n', ["a.jpg"]),
        ("SEP=,\npath;x,id\n", None),
    ],
)
def test_a_tables_delimiter_is_found(text, paths):
    if paths is None:
        with pytest.raises(InputError, match="has no column path: its columns are path;x, id"):
            table(text)
    else:
        assert table(text) == paths


def test_the_name_of_a_tsv_decides_where_the_line_of_names_does_not():
    assert table("path\na,b.jpg\n", name="t.tsv") == ["a,b.jpg"]
    assert table("path\tnote, more\na.jpg\tx\n", name="t.tsv") == ["a.jpg"]


def test_a_delimiter_that_is_given_holds():
    assert table("path,x;y\na,b.jpg;1\n", path_column="path,x", delimiter=";") == ["a,b.jpg"]
    assert table("sep=;\npath:id\na;b.jpg:1\n", delimiter=":") == ["a;b.jpg"]


@pytest.mark.parametrize("text", [";", "semicolon"])
def test_the_option_takes_a_character_or_its_name(text):
    with open("t.csv", "w") as file:  # noqa: PTH123
        file.write("path,x;id\n")
    words = ["--manifest", "t.csv", "--path-column", "path,x", "--delimiter", text]
    result = CliRunner().invoke(main, [*words, "-o", "a.csv"])
    assert result.exit_code == 2
    assert "There are no photos in t.csv" in result.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["p", "--delimiter", ";"], "There is no manifest with columns: leave out --delimiter."),
        (["--manifest", "t.parquet", "--delimiter", ";"], "A Parquet table has no delimiters"),
        (["--manifest", "t.csv", "--delimiter", ";;"], "';;' is neither one character nor one of"),
    ],
)
def test_a_delimiter_that_nothing_reads_is_refused(words, sentence):
    result = CliRunner().invoke(main, [*words, "-o", "a.csv"])
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())


def test_a_path_that_the_delimiter_cuts_is_not_read_as_its_beginning():
    with pytest.raises(InputError, match=r"more cells than columns in line 3: a path with"):
        table("id,path\n1,b.jpg\n2,a, b.jpg\n")


# Encodings


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-with-16"],
)
def test_a_table_is_read_in_the_encoding_that_it_has(encoding):
    text = "id;path\r\n1;ü 木.jpg\r\n"
    data = text.encode("utf-8" if encoding == "utf-8-with-16" else encoding)
    assert table(data) == ["ü 木.jpg"]


def test_a_mark_and_a_line_for_excel_go_together():
    assert table("sep=;\r\nid;path\r\n1;a.jpg\r\n".encode("utf-16")) == ["a.jpg"]


def test_a_path_that_is_no_utf8_is_kept_to_the_byte():
    assert table(b"path\ncaf\xe9.jpg\n") == ["caf\udce9.jpg"]


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        (b"", "utf-8"),
        (b"a", "utf-8"),
        (b"pa", "utf-8"),
        (b"p\0a\0", "utf-16-le"),
        (b"\0p\0a", "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF16_LE + b"p\0", "utf-16"),
    ],
)
def test_the_first_bytes_tell_the_encoding(head, encoding):
    assert encoding_of(head) == encoding


def test_a_table_that_is_cut_within_a_letter_is_a_sentence():
    with pytest.raises(InputError, match="can't be read as CSV, line 2: 'utf-16"):
        table("path\na.jpg\n".encode("utf-16")[:-1])


# Rows as spreadsheets leave them


def test_empty_rows_and_empty_columns_behind_are_passed_over():
    text = ",,\n\nid,path,\n1,a.jpg,,,\n,,\n  ,\t,\n\n2,b.jpg\n,,\n"
    assert table(text) == ["a.jpg", "b.jpg"]
    assert table(text.replace(",", ";").replace("\n", "\r\n")) == ["a.jpg", "b.jpg"]


def test_a_row_with_cells_and_no_path_is_a_sentence_with_its_line():
    with pytest.raises(InputError, match=r"t.csv has no path in line 5"):
        table("sep=,\nid,path\n1,a.jpg\n,\n2,\n")


def test_a_cell_in_quotes_may_hold_ends_of_lines_and_quotes():
    text = 'note;path\n"two\nlines; and ""more""";"a\nb.jpg"\nx;c.jpg\n'
    assert table(text) == ["a\nb.jpg", "c.jpg"]
    with pytest.raises(InputError, match="has no path in line 6"):
        table(text + "x;\n")


def test_names_may_hold_the_end_of_a_line():
    assert table('path;"two\nlines"\na.jpg;1\n') == ["a.jpg"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(end):
    assert table(f"id,path{end}1,a.jpg{end}2,b.jpg") == ["a.jpg", "b.jpg"]


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(InputError, match="has 2 columns path: rename all but one"):
        table("path,id,path\na.jpg,1,b.jpg\n")
    assert table("id,id,path\n1,2,a.jpg\n") == ["a.jpg"]


def test_two_columns_of_one_name_in_parquet_are_refused():
    arrow = pytest.importorskip("pyarrow", reason="writes Parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="writes Parquet")
    columns = arrow.Table.from_arrays([arrow.array(["a"])] * 2, names=["path", "path"])
    parquet.write_table(columns, "t.parquet")
    with pytest.raises(InputError, match="has 2 columns path"):
        list(entries(Inputs(manifest="t.parquet")))


# file: addresses in them


def test_file_addresses_in_tables_and_lists_are_read_without_their_escapes(here):
    (here / "a b.jpg").write_bytes(b"photo")
    url = (here / "a b.jpg").as_uri()
    assert table(f"path\n{url}\n") == [url]
    (item,) = items([url])
    assert item.source() == b"photo"


# Lists on stdin


@pytest.mark.parametrize(
    ("data", "null", "paths"),
    [
        (codecs.BOM_UTF8 + b"a.jpg\r\nb.jpg\r\n", False, ["a.jpg", "b.jpg"]),
        (codecs.BOM_UTF8 + b"a.jpg\0b.jpg\0", True, ["a.jpg", "b.jpg"]),
        ("a ü.jpg\r\nb.jpg".encode("utf-16"), False, ["a ü.jpg", "b.jpg"]),
        ("a.jpg\nü木.jpg\n".encode("utf-16-be"), False, ["a.jpg", "ü木.jpg"]),
        ("a.jpg\0b.jpg\0".encode("utf-16"), True, ["a.jpg", "b.jpg"]),
        (b"a\0b\0c\0", True, ["a", "b", "c"]),
        (b"a", False, ["a"]),
        (b"a\n\nb", False, ["a", "b"]),
        (b"", False, None),
        (codecs.BOM_UTF8, False, None),
    ],
)
def test_a_list_is_read_without_its_mark(here, monkeypatch, data, null, paths):
    (here / "list").write_bytes(data)
    with (here / "list").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        inputs = Inputs(arguments=("-",), null=null)
        if paths is None:
            with pytest.raises(InputError, match="There are no photos in the list on stdin"):
                list(entries(inputs))
        else:
            assert list(entries(inputs)) == paths


def test_a_list_in_utf16_that_is_cut_is_a_sentence(here, monkeypatch):
    (here / "list").write_bytes("a.jpg\n".encode("utf-16")[:-1])
    with (here / "list").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        with pytest.raises(InputError, match="The list on stdin can't be read as utf-16"):
            list(entries(Inputs(arguments=("-",))))
