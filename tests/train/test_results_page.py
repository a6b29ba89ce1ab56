"""docs/results.md says of each experiment what its committed result.json says, and nothing else."""

import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from alexnet.checkpoint import load_checkpoint
from alexnet.figures import save_figure, styled
from alexnet.files import sha256_of
from tests.train.svg import assert_alike
from train.cli import main
from train.corruptions import CORRUPTIONS
from train.experiments import pages
from train.experiments.cifar_training import Epoch
from train.experiments.experiment import RESULT, ExperimentError, read_result
from train.experiments.race import Rules, asked, standing
from train.experiments.registry import MODULES, experiment
from train.figures import confusion
from train.robustness import draw_robustness

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "figures"
MINI = ROOT / "alexnet" / "assets" / "mini.safetensors"
PAGE = (ROOT / "docs" / pages.PAGE).read_text("utf-8")
RESULTS = sorted((ROOT / "results" / "experiments").glob(f"*/{RESULT}"))
NAMES = [path.parent.name for path in RESULTS]


@pytest.mark.parametrize("path", RESULTS, ids=NAMES)
def test_a_section_is_what_its_result_makes(path):
    chosen = experiment(path.parent.name)
    result = read_result(path, chosen)
    assert pages.with_section(PAGE, chosen, result) == PAGE


@pytest.mark.parametrize("path", RESULTS, ids=NAMES)
def test_a_figure_is_what_its_result_draws(path, tmp_path):
    pytest.importorskip("matplotlib", reason="draws figures")
    chosen = experiment(path.parent.name)
    pages.draw(chosen, read_result(path, chosen), tmp_path / "figure.svg")
    assert_alike(tmp_path / "figure.svg", FIGURES / f"{chosen.name}.svg")


def test_another_curve_or_text_is_another_figure(tmp_path):
    kept = FIGURES / "relu-vs-tanh.svg"
    text = kept.read_text("utf-8")
    curve = max(re.findall(r'<path d="([^"]*)"', text), key=len)
    lower = re.sub(r"(L \S+) (\S+)", lambda found: f"{found[1]} {float(found[2]) + 5}", curve)
    for before, after in ((curve, lower), ("epoch 7.3", "epoch 7.4")):
        assert before in text
        (tmp_path / "other.svg").write_text(text.replace(before, after), "utf-8")
        with pytest.raises(AssertionError):
            assert_alike(tmp_path / "other.svg", kept)


def test_the_shipped_model_s_kernels_are_those_of_the_figure(tmp_path):
    pytest.importorskip("matplotlib", reason="draws figures")
    from train.figures.gallery import Gallery

    gallery = Gallery(MINI, out=tmp_path, ending="svg")
    gallery.kernels()
    assert_alike(tmp_path / "kernels.svg", FIGURES / "kernels-mini.svg")
    facts = gallery.facts["kernels"]
    numbers = [f"{number:.3f}".lstrip("0") for number in (*facts["medians"], facts["auc"])]
    assert "| {} / {} | {} |".format(*numbers) in PAGE


@pytest.mark.parametrize("name", ["net145", "modern"])
def test_learning_curves_are_those_of_the_metrics(name, tmp_path):
    pytest.importorskip("matplotlib", reason="draws figures")
    from train.figures.gallery import Gallery

    gallery = Gallery(MINI, out=tmp_path, ending="svg")
    gallery.curves(ROOT / "results" / "tiny-imagenet-50" / f"{name}.jsonl")
    assert_alike(tmp_path / "curves.svg", FIGURES / f"curves-{name}.svg")


def test_confusions_are_those_of_their_file(tmp_path):
    pytest.importorskip("matplotlib", reason="draws figures")
    kept = json.loads((ROOT / "results" / "confusion-mini.json").read_text("utf-8"))
    assert kept["sha256"] == sha256_of(MINI)
    facts = kept["confusion"]
    with styled():
        title = f"The {len(facts['worst'])} classes with the most errors (centre view)"
        figure = confusion.draw(facts, load_checkpoint(MINI).labels, title=title)
        save_figure(figure, tmp_path / "confusion.svg")
    assert_alike(tmp_path / "confusion.svg", FIGURES / "confusion-mini.svg")


CORRUPTED = json.loads((ROOT / "results" / "corruptions-mini.json").read_text("utf-8"))


def test_errors_on_spoilt_photos_are_drawn_from_their_file(tmp_path):
    pytest.importorskip("matplotlib", reason="draws figures")
    assert CORRUPTED["chance_top1_error"] == 1 - 1 / len(CORRUPTED["classes"])
    title = f"{Path(CORRUPTED['artifact']).name} on spoilt photos"
    draw_robustness(title, CORRUPTED, tmp_path / "figure.svg")
    assert_alike(tmp_path / "figure.svg", FIGURES / "corruptions-mini.svg")


def test_the_table_of_spoilt_photos_is_that_of_their_file():
    assert set(CORRUPTED["corruptions"]) == set(CORRUPTIONS)
    for name, row in CORRUPTED["corruptions"].items():
        assert row["values"] == list(CORRUPTIONS[name].values)
        errors = [*row["top1_error"], row["mean_top1_error"]]
        cells = " | ".join(f"{100 * error:.2f}" for error in errors)
        assert re.search(rf"^\| {name}: .* \| {re.escape(cells)} \|$", PAGE, re.M | re.I), name
    assert f"{100 * CORRUPTED['top1_error']:.2f} on the photos as they are" in PAGE


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


def test_what_was_chosen_follows_from_the_races_by_their_rules():
    """The file has an epoch too many of one that lost, which the text names."""
    path = ROOT / "results" / "experiments" / "relu-vs-tanh" / RESULT
    result = read_result(path, experiment("relu-vs-tanh"))
    settings = result["settings"]
    rules = Rules(
        target=settings["target"],
        rungs=tuple(settings["rungs"]),
        max_epochs=settings["max_epochs"],
    )
    longer = []
    for kind, found in result["found"]["nets"]["a"].items():
        (race,) = found["races"]
        runs = {
            str(run["rate"]): [Epoch(error=e, loss=0.0, seconds=0.0) for e in run["errors"]]
            for run in race["candidates"]
        }
        assert standing(runs, rules).winner == str(race["rate"]) == str(found["chosen"]["rate"])
        for rate, run in runs.items():
            due = asked(rate, runs, rules)
            assert len(run) >= due
            if len(run) > due and rate != str(race["rate"]):
                longer.append(f"{kind} at {rate} trained {len(run)} epochs where these rules")
    assert len(longer) == 1
    assert longer[0] in PAGE


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


def invoke(*words):
    return CliRunner().invoke(main, ["experiment", "relu-vs-tanh", *map(str, words)])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--describe", "--hours=1"), "leave out --hours"),
        (("--describe", "--docs=docs", "--out=x"), "leave out --out, --docs"),
        ((), "Name the experiment's folder with --out"),
        (("--out=x", "--device=cpu"), "without --data: leave out --device"),
        (("--out=x", "--hours=1", "--set=beyond=1"), "without --data: leave out --hours, --set"),
    ],
)
def test_options_that_would_be_ignored_are_refused(words, sentence):
    done = invoke(*words)
    assert done.exit_code == 2
    assert sentence in done.stderr


def test_settings_are_described_without_a_folder():
    done = invoke("--describe", "--set=beyond=7")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["beyond"] == 7


def test_a_page_without_a_place_is_found_before_the_trainings(tmp_path):
    (tmp_path / pages.PAGE).write_text("# Results\n")
    words = ("--data", tmp_path / "none", "--out", tmp_path / "out", "--docs")
    done = invoke(*words, tmp_path)
    assert done.exit_code == 1
    assert "has 0 places for relu-vs-tanh" in done.stderr
    assert not (tmp_path / "out").exists()
    assert "can't be read" in invoke(*words, tmp_path / "elsewhere").stderr


def test_matplotlib_is_looked_for_before_the_trainings(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = invoke("--data", tmp_path / "none", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "matplotlib" in done.stderr
    assert not (tmp_path / "out").exists()
