"""The README's quickstart works, as it is printed."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.commands import here

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def block(language, name="quickstart"):
    found = re.search(rf"```{language} {name}\n(.*?)```", README, re.S)
    assert found, f"the README has no {language} {name}"
    return found[1]


def environment():
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with a user's photos: two good ones and a torn one."""
    datasets = pytest.importorskip("sklearn.datasets", reason="its photographs are the user's")
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "photos").mkdir()
    for name in datasets.load_sample_images().filenames:
        shutil.copy(name, folder / "photos")
    whole = (folder / "photos" / "china.jpg").read_bytes()
    (folder / "photos" / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.mark.slow
def test_the_commands_of_the_quickstart_run_as_printed(workplace):
    for line in block("sh").splitlines():
        done = subprocess.run(
            line, shell=True, cwd=workplace, env=environment(), capture_output=True, text=True
        )
        # One of the photos is torn, and alexnet-label says so with exit code 1.
        expected = 1 if line.startswith("alexnet-label") else 0
        assert done.returncode == expected, f"{line}\n{done.stdout}{done.stderr}"
    assert (workplace / "labels.csv").read_text().count("\n") == 4
    assert (workplace / "runs" / "first" / "model.onnx").is_file()


@pytest.mark.slow
def test_the_python_of_the_quickstart_runs_as_printed(workplace):
    done = subprocess.run(
        [sys.executable, "-c", block("python")],
        cwd=workplace,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    good, torn = done.stdout.strip().splitlines()
    assert good.startswith("[('")
    assert torn == "This JPEG file breaks off: a part of the picture is missing."


def test_every_command_and_option_of_the_readme_exists():
    text = re.sub(r"^torchrun .*? --no-python (?=alexnet-)", "", README, flags=re.M)
    assert "torchrun" not in "".join(re.findall(r"^torchrun .*", text, re.M))
    lines = re.findall(r"^(alexnet-.*)|`(alexnet-\w+ [^`]*)`", text, re.M)
    lines = [printed or quoted for printed, quoted in lines]
    scripts = {one.name: one.value for one in entry_points(group="console_scripts")}
    verbless = ("alexnet-label", "alexnet-serve")
    assert len(lines) > 10
    for line in lines:
        words = line.split()
        verb = words[1] == "neighbours" or words[0] not in verbless
        done = here(scripts[words[0]].removesuffix(":main"), *words[1 : 1 + verb], "--help")
        assert done.returncode == 0, line
        for option in re.findall(r"(?<= )--?[a-z][a-z-]*", line):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", done.stdout), f"{line}: {option}"
