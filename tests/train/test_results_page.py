"""docs/results.md says of each experiment what its committed result.json says, and nothing else."""

import json
import re
from pathlib import Path

import pytest

from train.experiments import pages
from train.experiments.experiment import RESULT, ExperimentError, read_result
from train.experiments.registry import MODULES, experiment

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / pages.PAGE).read_text("utf-8")
RESULTS = sorted((ROOT / "results" / "experiments").glob(f"*/{RESULT}"))
NAMES = [path.parent.name for path in RESULTS]


@pytest.mark.parametrize("path", RESULTS, ids=NAMES)
def test_a_section_is_what_its_result_makes(path):
    chosen = experiment(path.parent.name)
    result = read_result(path, chosen)
    assert pages.with_section(PAGE, chosen, result) == PAGE


@pytest.mark.parametrize("path", RESULTS, ids=NAMES)
def test_a_figure_can_be_drawn_from_its_result_and_shows_its_words(path, tmp_path):
    pytest.importorskip("matplotlib", reason="draws figures")
    chosen = experiment(path.parent.name)
    pages.draw(chosen, read_result(path, chosen), tmp_path / "figure.svg")
    words, kept = (
        set(re.findall(r"<text[^>]*>([^<]+)</text>", file.read_text("utf-8")))
        for file in (tmp_path / "figure.svg", ROOT / "docs" / "figures" / f"{chosen.name}.svg")
    )
    assert words
    assert words == kept


def test_relus_were_at_least_twice_as_fast_as_tanh_with_every_seed():
    path = ROOT / "results" / "experiments" / "relu-vs-tanh" / RESULT
    net = read_result(path, experiment("relu-vs-tanh"))["found"]["nets"]["a"]
    relu, tanh = (
        [run["crossing"] for run in net[kind]["seeds"] if run["crossing"] is not None]
        for kind in ("relu", "tanh")
    )
    assert relu
    assert tanh
    assert min(tanh) > 2 * max(relu)


def test_every_section_has_a_result():
    assert set(re.findall(r"<!-- experiment ([\w-]+) -->", PAGE)) == set(NAMES)
    assert set(NAMES) <= MODULES.keys()


def test_results_name_no_place_of_the_machine_that_made_them():
    for path in RESULTS:
        assert not re.search(r"[\s=\"]/", json.loads(path.read_text("utf-8"))["command"]), path


def test_a_page_without_a_place_for_an_experiment_is_a_sentence():
    chosen = experiment("relu-vs-tanh")
    with pytest.raises(ExperimentError, match=r"has 0 places for relu-vs-tanh, not one"):
        pages.with_section("# Results\n", chosen, {})
