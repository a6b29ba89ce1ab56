"""docs/fidelity.md says of presets and recipes just what they say of themselves."""

import json
import re
import shlex
from pathlib import Path

import pytest

from alexnet.config import preset
from alexnet.settings import to_dict
from train.recipe import ScheduleConfig
from train.recipes import recipe, run_config

TEXT = (Path(__file__).parent.parent / "docs" / "fidelity.md").read_text("utf-8")


def rows_of(sections):
    """The cells of every row of a table whose field is of the `sections`."""
    return [
        [cell.strip() for cell in line.strip("|\n").split(" | ")]
        for line in TEXT.splitlines()
        if re.search(rf"\| `({sections})\.", line)
    ]


ROWS = rows_of("input|network")
PRESETS = ("paper", "net145", "caffe", "torchvision")
RECIPE_ROWS = rows_of("recipe")
RECIPES = ("paper", "net145", "net170", "modern")


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


# Recipes

# Which kinds of schedule read a field; the others read none of these.
READ_BY = {
    "factor": ("plateau", "epochs"),
    "cuts": ("plateau",),
    "patience": ("plateau",),
    "cut_at": ("epochs",),
    "reduction": ("dexp",),
    "steps": ("dexp",),
}


def fields_of(name):
    """A recipe's fields by their dotted names; what its kind of schedule does not read is left out.

    A recipe without `bias_schedule` has none of its fields either.
    """
    found = {}
    for path, item in _leaves({"recipe": to_dict(recipe(name))}, ""):
        *section, last = path.split(".")
        kind = getattr(getattr(recipe(name), section[-1], None), "kind", None)
        if item is not None and (kind is None or kind in READ_BY.get(last, (kind,))):
            found[path] = item
    return found


@pytest.mark.parametrize("row", RECIPE_ROWS, ids=[row[1] for row in RECIPE_ROWS])
def test_the_table_and_the_recipes_agree(row):
    _, field, *cells = row
    assert len(cells) == len(RECIPES)
    found = {name: fields_of(name).get(field.strip("`")) for name in RECIPES}
    assert found == dict(zip(RECIPES, map(read, cells), strict=True))
    assert any(value is not None for value in found.values())


def test_the_table_leaves_out_no_difference_of_the_recipes():
    named = {row[1].strip("`") for row in RECIPE_ROWS}
    assert len(named) == len(RECIPE_ROWS)
    recipes = [fields_of(name) for name in RECIPES]
    fields = set().union(*recipes)
    different = {f for f in fields if len({str(found.get(f)) for found in recipes}) > 1}
    # The biases' own schedules are not warmed up where there are any.
    implied = {"recipe.name", "recipe.bias_schedule.warm_up"}
    assert all(found.get("recipe.bias_schedule.warm_up", 0) == 0 for found in recipes)
    assert different - named == implied


def run_of(name):
    """The run that the command of the block `sh name` begins."""
    command = re.search(rf"```sh {name}\n(.*?)```", TEXT, re.S)[1]
    words = shlex.split(command.replace("\\\n", " "))
    options = list(zip(words[2::2], words[3::2], strict=True))
    chosen = dict(options)
    settings = [value for option, value in options if option == "--set"]
    return run_config(
        chosen["--preset"], recipe(chosen["--recipe"]), classes=1000, settings=settings
    )


def test_caffe_s_training_is_what_the_text_says():
    run = run_of("caffe")
    assert run.config == preset("caffe")
    found = run.recipe
    assert (found.batch, found.lr, found.bias_lr, found.bias_schedule) == (256, 0.01, 0.02, None)
    # Cuts at 100,000, 200,000, 300,000 and 400,000 steps, to within a tenth of an epoch.
    steps = 1_281_167 / 256
    after = [100_000 * cut / steps for cut in (1, 2, 3, 4)]
    assert found.schedule == ScheduleConfig(kind="epochs", cut_at=found.schedule.cut_at)
    assert [cut - 1 for cut in found.schedule.cut_at] == pytest.approx(after, abs=0.1)
    assert found.epochs == pytest.approx(450_000 / steps, abs=0.1)
    assert (found.momentum, found.weight_decay, found.bias_decay) == (0.9, 0.0005, False)
    assert found.lr_in_velocity
    assert (found.noise.coefficient, found.crops_shared_by) == (0, 1)


def test_torchvision_s_training_is_what_the_text_says():
    run = run_of("torchvision")
    assert run.config == preset("torchvision")
    found = run.recipe
    assert (found.batch, found.lr, found.bias_lr, found.bias_schedule) == (256, 0.01, 0.01, None)
    assert found.schedule == ScheduleConfig(kind="epochs", cut_at=(31, 61))
    assert found.epochs == 90
    assert (found.momentum, found.weight_decay, found.bias_decay) == (0.9, 0.0001, True)
    assert not found.lr_in_velocity
    assert not found.zero_lr_skips
    assert (found.noise.coefficient, found.label_smoothing) == (0, 0)
