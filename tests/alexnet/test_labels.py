"""Classes: the ILSVRC-2012 list, its JSON form, and finding a class by what people type."""

import codecs
import json

import pytest

from alexnet.labels import (
    Label,
    LabelError,
    find_label,
    ilsvrc2012,
    labels_from_json,
    labels_to_json,
    read_labels,
)
from tests.photos import shared_data

PETS = (
    Label("n1", "goldfish, Carassius auratus"),
    Label("n2", "crane"),
    Label("n3", "Labrador retriever"),
    Label("n4", "crane"),
)


def test_ilsvrc2012_has_its_thousand_classes_in_the_order_of_their_wnids():
    labels = ilsvrc2012()
    wnids = [label.wnid for label in labels]
    assert len(set(wnids)) == 1000
    assert wnids == sorted(wnids)
    assert labels[0] == Label("n01440764", "tench")
    assert labels[207].name == "golden retriever"
    assert labels[999] == Label("n15075141", "toilet tissue")


@pytest.mark.shared
def test_ilsvrc2012_is_the_list_of_the_shared_data():
    path = shared_data("imagenet1k_classes.tsv")
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
    assert ilsvrc2012() == tuple(Label(wnid, name) for _, wnid, name in rows)


def test_labels_come_back_from_json_as_they_were():
    labels = (*PETS, Label("çà", 'a "quoted" name\n'))
    assert labels_from_json(labels_to_json(labels)) == labels


def test_labels_without_any_class_come_back_too():
    assert labels_from_json(labels_to_json(())) == ()


def test_what_else_the_json_says_of_a_class_is_no_part_of_its_label():
    assert labels_from_json('[{"wnid": "n1", "name": "tench", "train": 3}]') == (
        Label("n1", "tench"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ('{"wnid": "n1"}', "must be a JSON list"),
        ('[{"wnid": "n1", "name": "a"}, {"wnid": "n2"}]', "Class 1 must be"),
        ('[{"wnid": 1, "name": "a"}]', "Class 0 must be"),
        ('["n1"]', "Class 0 must be"),
    ],
)
def test_a_damaged_list_of_classes_says_what_is_wrong(text, words):
    with pytest.raises(LabelError, match=words):
        labels_from_json(text)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (2, 2),
        ("2", 2),
        ("n3", 2),
        ("N3", 2),
        ("labrador retriever", 2),
        (" Carassius auratus ", 0),
        ("goldfish, carassius auratus", 0),
    ],
)
def test_a_class_is_found_by_index_wnid_or_name(wanted, index):
    assert find_label(PETS, wanted) == index


def test_a_name_goes_before_an_index():
    digits = tuple(Label(str(9 - index), str(9 - index)) for index in range(10))
    assert find_label(digits, "7") == 2
    assert find_label(digits, 7) == 7


def test_a_name_of_two_classes_asks_which_one_is_meant():
    with pytest.raises(LabelError, match=r"'crane' names 2 classes: say which of n2, n4\."):
        find_label(PETS, "crane")


def test_the_names_that_ilsvrc2012_gives_twice_are_told_apart_by_their_wnids():
    with pytest.raises(LabelError, match="n02012849, n03126707"):
        find_label(ilsvrc2012(), "crane")
    assert find_label(ilsvrc2012(), "n03126707") == 517


def test_an_unknown_class_is_answered_with_similar_ones():
    with pytest.raises(LabelError, match=r"no class 'goldfihs' among the 1000\. Similar: goldfish"):
        find_label(ilsvrc2012(), "goldfihs")


@pytest.mark.parametrize("wanted", [4, "4", -1, "-1", ""])
def test_an_index_outside_of_the_list_is_no_class(wanted):
    with pytest.raises(LabelError, match="There is no class"):
        find_label(PETS, wanted)


# Files of classes

CATS = (Label("n02123045", "tabby, tabby cat"), Label("n02123597", "Siamese"))
NAMES = (Label("tabby cat", "tabby cat"), Label("Käuzchen", "Käuzchen"))
TABS = "n02123045\ttabby, tabby cat\nn02123597\tSiamese\n"
ROWS = [{"wnid": label.wnid, "name": label.name} for label in CATS]
FILES = {
    "a name a line": ("tabby cat\nKäuzchen", NAMES),
    "with empty lines and spaces at their ends": ("\n tabby cat \r\n\r\nKäuzchen\r\n\n", NAMES),
    "an id, a tab and a name": (TABS, CATS),
    "with an index": ("".join(f"{n}\t{row}\n" for n, row in enumerate(TABS.splitlines())), CATS),
    "WordNet's ids": (TABS.replace("\t", " "), CATS),
    "names in JSON": (json.dumps([label.name for label in NAMES]), NAMES),
    "ids and names in JSON": (json.dumps(ROWS), CATS),
    "dataset.json": (json.dumps({"classes": ROWS, "size": 64}), CATS),
    "class_to_idx": (json.dumps({"Käuzchen": 1, "tabby cat": 0}), NAMES),
    "idx_to_class": (json.dumps({"1": "Käuzchen", "0": "tabby cat"}), NAMES),
    "Keras": (json.dumps({str(n): [c.wnid, c.name] for n, c in enumerate(CATS)}), CATS),
}
ENCODINGS = {
    "UTF-8": str.encode,
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize(("text", "labels"), FILES.values(), ids=FILES)
def test_classes_are_read_from_the_files_that_people_have(tmp_path, text, labels, encode):
    (tmp_path / "classes").write_bytes(encode(text))
    assert read_labels(tmp_path / "classes") == labels


def test_the_order_is_that_of_the_indices_and_not_of_the_text(tmp_path):
    """As text, 10 comes before 9."""
    names = {f"class {n}": n for n in (10, 9, 1, 0, 2, 3, 8, 7, 6, 5, 4)}
    for rows in (names, {str(n): name for name, n in names.items()}):
        (tmp_path / "classes.json").write_text(json.dumps(rows))
        found = [label.name for label in read_labels(tmp_path / "classes.json")]
        assert found == [f"class {n}" for n in range(11)]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "names no classes"),
        (b"\n \n", "names no classes"),
        (b"[]", "names no classes"),
        (b"{", "is no list of classes"),
        (b'"cat"', "is no list of classes: JSON of it is a list or an object"),
        (b"[1]", "class 0 must be a name, or"),
        (b'["cat", null]', "class 1 must be a name, or"),
        (b'{"cat": 0, "dog": 2}', "the indices are not those from 0 to 1, each once"),
        (b'{"cat": 0, "dog": 0}', "the indices are not those from 0 to 1, each once"),
        (b'{"cat": 0, "dog": true}', "is no list of classes"),
        (b"a\tb\nc", "different numbers of cells"),
        (b"1\ta\tb\n2\tc\td", "the first of three cells must be the index"),
        (b"1\ta\n0\tb", "hold the numbers 0 to 1, and not in this order: sort them, or"),
        (b"cat\t2\ndog\t0\nrat\t1", "hold the numbers 0 to 2, and not in this order"),
        (b"cat\ndog\ncat", "names 'cat' twice, as the classes 0 and 2"),
        (b"caf\xe9\ncat", "is no text in UTF-8: save it as such"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "is no text in UTF-8"),
    ],
)
def test_a_file_that_is_no_list_of_classes_is_a_sentence_that_names_it(tmp_path, data, sentence):
    (tmp_path / "classes").write_bytes(data)
    with pytest.raises(LabelError) as caught:
        read_labels(tmp_path / "classes")
    assert str(caught.value).startswith(f"{tmp_path / 'classes'} ")
    assert sentence in str(caught.value)
