"""docs/fidelity.md says of every preset just what the preset says of itself."""

import json
import re
from pathlib import Path

import pytest

from alexnet.config import preset
from alexnet.settings import to_dict

TEXT = (Path(__file__).parent.parent / "docs" / "fidelity.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split(" | ")]
    for line in TEXT.splitlines()
    if re.search(r"\| `(input|network)\.", line)
]
PRESETS = ("paper", "net145", "caffe", "torchvision")


def value(name, path):
    """What a preset holds at a field's path; None where a part on the way is absent."""
    node = to_dict(preset(name))
    for key in path.split("."):
        if node is None:
            return None
        node = node[int(key)] if isinstance(node, list) else node[key]
    return node


def read(cell):
    try:
        return json.loads(cell)
    except json.JSONDecodeError:
        return cell


@pytest.mark.parametrize("row", ROWS, ids=[row[1] for row in ROWS])
def test_the_table_and_the_presets_agree(row):
    _, field, *cells = row
    assert len(cells) == len(PRESETS)
    found = {name: value(name, field.strip("`")) for name in PRESETS}
    assert found == dict(zip(PRESETS, map(read, cells), strict=True))


def test_the_table_leaves_out_no_difference_of_the_network():
    """Every field in which two of the four presets differ has a row, or a row of its kind."""
    named = {row[1].strip("`").replace(re.search(r"convs\.\d", row[1])[0], "convs.N")
             if "convs." in row[1] else row[1].strip("`") for row in ROWS}  # fmt: skip
    leaves = {name: dict(_leaves(to_dict(preset(name)), "")) for name in PRESETS}
    fields = set().union(*leaves.values())
    different = {f for f in fields if len({str(leaves[name].get(f)) for name in PRESETS}) > 1}
    kinds = {re.sub(r"convs\.\d", "convs.N", field) for field in different}
    # Follow from another row: an absent part, or the whole one-column net of torchvision.
    implied = re.compile(
        r"^preset$|fc8_init_std|fc7\.|input\.mean_rgb|reads$|kernel|stride"
        r"|(lrn|same_map_lrn|pool)$|\.(lrn|same_map_lrn)\.(size|alpha|beta|window|k|alpha_of|within)"
    )
    assert {kind for kind in kinds - named if not implied.search(kind)} == set()


def _leaves(node, path):
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, list) and any(isinstance(item, dict) for item in node):
        items = enumerate(node)
    else:
        yield path, node
        return
    for key, item in items:
        yield from _leaves(item, f"{path}.{key}" if path else str(key))
