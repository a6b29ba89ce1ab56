"""What is imported is asked for, and `make venv` installs what the suite needs."""

import ast
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OURS = {"alexnet", "train", "export", "serve", "bench", "scripts", "tests"}
# Distributions whose modules have other names.
MODULES = {
    "pillow": {"PIL"},
    "scikit-learn": {"sklearn"},
    "pyyaml": {"yaml"},
    "onnxruntime-gpu": {"onnxruntime"},
    "python-multipart": {"python_multipart", "multipart"},
    "tensorrt-cu13-bindings": {"tensorrt_bindings"},
    "tensorrt-lean-cu13-libs": {"tensorrt_lean_libs"},
}
# timm needs a torchvision that fits torch's build: people who compare with it install both.
LEFT_TO_PEOPLE = {"timm"}
# BentoML's supervisor, of whichever package the installed BentoML asks for.
OF_BENTOML = {"circus"}
# Modules of tests about imports.
MADE_UP = {"no_such_package", "half_installed"}


def name_of(requirement):
    return re.match(r"[\w-]+", requirement)[0]


def modules_of(requirements):
    """The modules that requirements bring, those of their extras of ours among them."""
    found = set()
    for requirement in requirements:
        name = name_of(requirement)
        if name == "alexnet":
            for extra in re.search(r"\[(.*)\]", requirement)[1].split(","):
                found |= modules_of(EXTRAS[extra])
        else:
            found |= MODULES.get(name, {name.replace("-", "_")})
    return found


def imported(folder):
    """(module, file) of every import in a folder, also those by name."""
    beside = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            elif isinstance(node, ast.Call) and node.args:
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if called in ("optional_import", "importorskip", "import_module"):
                    names = [getattr(node.args[0], "value", None)]
            roots = {name.split(".")[0] for name in names if isinstance(name, str)}
            for root in roots - set(sys.stdlib_module_names) - OURS - beside:
                yield root, path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("folder", sorted(OURS - {"scripts", "tests"}))
def test_a_package_imports_what_the_project_asks_for(folder):
    extras = [line for extra, lines in EXTRAS.items() if extra != "dev" for line in lines]
    declared = modules_of([*PROJECT["dependencies"], *extras]) | LEFT_TO_PEOPLE | OF_BENTOML
    assert [found for found in imported(folder) if found[0] not in declared] == []


@pytest.mark.parametrize("folder", ["scripts", "tests"])
def test_tests_and_scripts_import_what_make_venv_installs(folder):
    declared = modules_of([*PROJECT["dependencies"], *EXTRAS["dev"]]) | MADE_UP
    assert [found for found in imported(folder) if found[0] not in declared] == []


def test_every_extra_is_in_dev_but_the_builder_that_needs_a_gpu():
    named = set()
    for requirement in EXTRAS["dev"]:
        if name_of(requirement) == "alexnet":
            named |= set(re.search(r"\[(.*)\]", requirement)[1].split(","))
    assert named == set(EXTRAS) - {"dev", "tensorrt"}


def test_what_constraints_pin_is_asked_for_in_that_version():
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if not line.startswith("#")
    )
    asked = {
        name_of(line): re.search(r">=([\d.]+)", line)[1]
        for lines in [PROJECT["dependencies"], *EXTRAS.values()]
        for line in lines
        if ">=" in line
    }
    for name in set(pins) & set(asked):
        pinned, least = (tuple(map(int, text.split("."))) for text in (pins[name], asked[name]))
        assert pinned >= least, name


def resolver():
    """What .ci/resolve defines."""
    return runpy.run_path(str(ROOT / ".ci" / "resolve"))


def test_the_index_is_asked_without_the_packages_of_this_machine(monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", "wheels")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "index")
    monkeypatch.setenv("PIP_CERT", "certificate")
    asked = resolver()["environment"]()
    assert not {"PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"} & set(asked)
    assert (asked["PIP_CERT"], asked["PIP_CONFIG_FILE"]) == ("certificate", os.devnull)


@pytest.mark.parametrize(("version", "code"), [("3.12", 1), ("3.14", 0)])
def test_requirements_are_those_of_the_python_that_is_asked_about(version, code):
    requirement = 'there-is-no-such-package; python_version < "3.13"'
    words = ("install", "--dry-run", "--no-index", requirement)
    done = subprocess.run(
        [sys.executable, "-c", resolver()["PIP"], version, *words], capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr


def test_no_sentence_says_that_the_project_is_on_an_index():
    places = [ROOT / name for name in ("README.md", "docs", "deploy", *sorted(OURS - {"tests"}))]
    files = [
        path for place in places for path in ([place] if place.is_file() else place.rglob("*"))
    ]
    texts = {path: path.read_bytes().decode("utf-8", "replace") for path in files if path.is_file()}
    found = [path for path, text in texts.items() if re.search(r"pip install ['\"]?alexnet", text)]
    assert found == []
