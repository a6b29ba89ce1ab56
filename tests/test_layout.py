"""The house stays as it was drawn: who imports whom, and what the README says is where."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("train", "export", "serve", "bench")
# Inside the core, a module imports only from its own row or the rows above.
ORDER = (
    ("errors", "json_text", "photo_endings", "junk"),
    ("files", "settings", "machine", "child_process", "tars"),
    ("config", "labels", "color"),
    (
        "geometry",
        "photo_error",
        "photo_endings",
        "container",
        "jpeg",
        "png",
        "tiff",
        "quiet",
        "pixels",
        "square",
        "decoder",
        "photo",
        "sample_photos",
        "lrn",
    ),
    ("network", "views", "header"),
    ("classifier", "dense"),
    ("checkpoint",),
    ("fresh",),
    ("backends",),
    ("read_ahead", "predictor"),
)
NEEDED = {"torch", "numpy", "PIL", "safetensors"}
# Triton's language, imported when one of them runs.
KERNELS = [ROOT / "alexnet" / "lrn" / f"{name}.py" for name in ("arithmetic", "kernels", "lanes")]


def imports(path):
    """Modules that a file imports at its top (and, apart, anywhere)."""
    tree = ast.parse(path.read_text("utf-8"))
    everywhere, top = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = {node.module}
        else:
            continue
        everywhere |= names
        top |= names if node in tree.body else set()
    return top, everywhere


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_the_core_and_never_another_room(room):
    others = set(ROOMS) - {room}
    for path in modules(room):
        roots = {name.split(".")[0] for name in imports(path)[1]}
        assert not roots & (others | {"tests"}), path


def test_the_core_imports_no_room():
    for path in modules("alexnet"):
        roots = {name.split(".")[0] for name in imports(path)[1]}
        assert not roots & {*ROOMS, "tests"}, path


def test_the_core_is_built_from_the_bottom_up():
    rank = {name: row for row, names in enumerate(ORDER) for name in names}
    for path in modules("alexnet"):
        part = path.relative_to(ROOT / "alexnet").parts[0].removesuffix(".py")
        if part in ("__init__", "console", "figures", "options"):
            continue
        assert part in rank, f"{path}: name its place in ORDER"
        used = {name.split(".")[1] for name in imports(path)[1] if name.startswith("alexnet.")}
        assert all(rank[name] <= rank[part] for name in used), (path, used)


def test_the_core_needs_four_packages_and_no_more():
    for path in modules("alexnet"):
        if path.name in ("console.py", "options.py"):  # for the rooms only
            continue
        roots = {name.split(".")[0] for name in imports(path)[0]}
        if path in KERNELS:
            assert roots - {"alexnet"} == {"triton"}, path
            continue
        assert roots - set(sys.stdlib_module_names) - {"alexnet"} <= NEEDED, path


def test_only_kernels_import_kernels_before_they_run():
    names = {f"alexnet.lrn.{path.stem}" for path in KERNELS}
    for package in ("alexnet", *ROOMS):
        for path in modules(package):
            assert path in KERNELS or not names & set(imports(path)[0]), path


def test_help_is_quick_because_heavy_packages_wait_until_they_are_needed():
    heavy = "{'torch', 'bentoml', 'onnxruntime', 'onnx', 'sklearn'}"
    for module in ("train.cli", "export.cli", "serve.label", "bench.cli"):
        code = f"import sys, {module}; print(*({heavy} & set(sys.modules)))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert done.stdout.strip() == "", module


def test_every_package_is_listed_for_the_install():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    listed = set(re.findall(r'"([\w.]+)"', re.search(r"packages = \[(.*?)\]", text, re.S)[1]))
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for package in ("alexnet", *ROOMS)
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert listed == found
