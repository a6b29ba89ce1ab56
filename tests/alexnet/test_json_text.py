import json

import numpy as np
import pytest

from alexnet.files import write_json
from alexnet.json_text import to_json

INFINITY = float("inf")
VALUES = {
    "nan": float("nan"),
    "deep": [1, (2.5, -INFINITY), {"x": {"y": INFINITY}}],
    "numpy": np.float64("nan"),
    "rest": [None, True, 0, -1.5, 1e308, "Infinity"],
}
PLAIN = {
    "nan": None,
    "deep": [1, [2.5, None], {"x": {"y": None}}],
    "numpy": None,
    "rest": [None, True, 0, -1.5, 1e308, "Infinity"],
}


def strict(text):
    """What a reader of JSON proper gets."""

    def refuse(constant):
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("indent", [None, 2])
def test_numbers_that_are_not_finite_are_null_at_any_depth(indent):
    assert strict(to_json(VALUES, indent=indent)) == PLAIN


def test_what_is_finite_is_as_python_writes_it():
    value = {"b": [1, 2.5], "a": {"name": "Kühe"}}
    assert to_json(value) == '{"b": [1, 2.5], "a": {"name": "Kühe"}}'
    assert to_json(value, ascii=True) == '{"b": [1, 2.5], "a": {"name": "K\\u00fche"}}'
    assert to_json({"b": 1, "a": INFINITY}, sort_keys=True) == '{"a": null, "b": 1}'


def test_what_has_no_json_form_is_made_one_or_is_an_error():
    value = {"row": np.array([0.5, INFINITY]), "nan": INFINITY}
    assert strict(to_json(value, default=np.ndarray.tolist)) == {"row": [0.5, None], "nan": None}
    with pytest.raises(TypeError, match="not JSON serializable"):
        to_json(value)
    with pytest.raises(TypeError, match="not JSON serializable"):
        to_json({"row": np.array([0.5])})


def test_a_byte_of_a_file_name_that_is_not_utf8_comes_back(tmp_path):
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    for value in (name, [name, INFINITY]):
        text = to_json(value)
        assert json.loads(text.encode("utf-8")) in (name, [name, None])


def test_files_have_no_infinity_either(tmp_path):
    write_json(tmp_path / "x.json", VALUES)
    assert strict((tmp_path / "x.json").read_text("utf-8")) == PLAIN
