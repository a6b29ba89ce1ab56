"""Commands under torchrun: processes share the work, and one of them speaks."""

import json

import pytest

from tests.train.conftest import THIN, run
from tests.train.folders import make
from train.dataset import Dataset


def sentences(done):
    """What alexnet-train itself said; torchrun's own report is long."""
    return [line for line in done.stderr.splitlines() if line.startswith("alexnet-train: ")]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--set=recipe.lrr=1", "--data=DATA"), "There is no setting 'recipe.lrr'"),
        (("--data=NOWHERE",), "alexnet-train prepare"),
    ],
    ids=["a wrong setting", "missing data"],
)
def test_an_error_under_torchrun_is_one_sentence_and_exit_code_1(
    colors, tmp_path, options, sentence
):
    places = {"DATA": str(colors), "NOWHERE": str(tmp_path / "nowhere")}
    words = []
    for option in options:
        name, _, value = option.rpartition("=")
        words.append(f"{name}={places.get(value, value)}")
    done = run("fit", *THIN, *words, "--out", tmp_path / "run", processes=2, check=False)
    assert done.returncode == 1
    assert len(sentences(done)) == 1, done.stderr
    assert sentence in sentences(done)[0]
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def seven(colors, tmp_path_factory):
    """Seven validation photos: more than half of them in one process."""
    folder = tmp_path_factory.mktemp("seven")
    for name, count in (("red", 3), ("green", 3), ("blue", 1)):
        for split in ("train", "val"):
            place = folder / "source" / split / name
            place.mkdir(parents=True)
            for path in sorted((colors.parent / "source" / split / name).iterdir())[:count]:
                (place / path.name).write_bytes(path.read_bytes())
    make(folder / "source", folder / "data", size=64)
    assert Dataset(folder / "data").count("val") == 7
    return folder / "data"


@pytest.fixture(scope="module")
def model(colors, tmp_path_factory):
    """A thin network after an epoch."""
    out = tmp_path_factory.mktemp("model") / "run"
    run("fit", *THIN, "--set=recipe.batch=8", "--data", colors, "--out", out, "--epochs=1")
    return out / "model.safetensors"


@pytest.mark.parametrize("options", [("--views=centre",), ("--views=ten", "--ties=shared")])
def test_two_processes_evaluate_to_the_result_of_one(model, seven, tmp_path, options):
    words = ("evaluate", model, "--data", seven, *options)
    one = run(*words, "--json", tmp_path / "one.json")
    two = run(*words, "--json", tmp_path / "two.json", processes=2)
    assert two.stdout == one.stdout  # and so only one process prints
    assert json.loads(one.stdout.splitlines()[-1])["photos"] == 7
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()
