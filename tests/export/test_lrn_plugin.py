"""The TensorRT plugins, put before NVIDIA's own plugin code: no GPU and no builder is needed.

NVIDIA's Python bindings and its lean runtime, which holds a real plugin registry, install without
the rest of TensorRT. The bindings also look for three libraries that are not among them; what they
take from these is stood in for by a few lines of C. `plugin_probe.py` asks in a process of its own.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from alexnet.errors import AlexNetError, MissingPackageError
from export.lrn_plugin import register

ROOT = Path(__file__).parents[2]
SHIMS = {
    # The lean runtime has the registry, and no builder.
    "nvinfer": """
        extern void *getPluginRegistry(void);
        void *getBuilderPluginRegistry(int capability) { return getPluginRegistry(); }
        void *createInferBuilder_INTERNAL(void *logger, int version) { return 0; }
    """,
    "nvinfer_plugin": "int initLibNvInferPlugins(void *logger, const char *space) { return 1; }",
    "nvonnxparser": """
        void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) { return 0; }
        void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int version) {
            return 0;
        }
        int getNvOnnxParserVersion(void) { return 0; }
    """,
}
TYPES = ("FLOAT", "HALF", "BF16")
LAYOUTS = ("LINEAR", "HWC")
PAPER = {"size": 5, "coefficient": 1e-4, "beta": 0.75, "k": 2.0, "columns": 2}
POOL = {"pool_size": 3, "pool_stride": 2, "pool_spill": 0}


def case(operator, shape, *, dtype="FLOAT", layout="LINEAR", batch=None, fixed=False, **attributes):
    """A question: an engine that is tuned for `shape` and launched with `batch` photos.

    `fixed`: no other batch is allowed, so that it is known when the engine is built.
    """
    given = PAPER | (POOL if operator == "AlexNetReluLRNPool" else {}) | attributes
    return {
        "operator": operator,
        "shape": shape,
        "batch": batch or shape[0],
        "fixed": fixed,
        "dtype": dtype,
        "layout": layout,
        "attributes": given,
    }


# What is asked, and the launch that belongs to it by hand. A block is 128 positions; the maps of a
# column are cut where 256 programs would not be reached, into segments of 16 maps or multiples.
LAUNCHES = {
    # 55 x 55 x 8 = 24,200 positions in 190 blocks; 380 programs with two columns: not cut.
    "conv1": (case("AlexNetLRN", [8, 96, 55, 55]), (190, 2), 24200),
    # 3,025 positions in 24 blocks; 48 programs: each column's 48 maps in 3 segments of 16.
    "conv1, one photo": (case("AlexNetLRN", [1, 96, 55, 55]), (24, 6), 3025),
    # Tuned for one photo, launched with 80 (eight photos' ten views): 242,000 positions.
    "conv1, tuned for one": (case("AlexNetLRN", [1, 96, 55, 55], batch=80), (1891, 6), 242000),
    "conv1, always eight": (case("AlexNetLRN", [8, 96, 55, 55], fixed=True), (190, 2), 24200),
    # 27 x 27 x 8 = 5,832 positions in 46 blocks, 92 programs; 128 maps in 3 segments of 48.
    "conv2": (case("AlexNetLRN", [8, 256, 27, 27]), (46, 6), 5832),
    # One column (Caffe) of 256 maps: 46 programs, 6 segments of 48.
    "conv2, one column": (case("AlexNetLRN", [8, 256, 27, 27], columns=1), (46, 6), 5832),
    # 27 x 27 windows of 3, each 2 apart, as above; 48 maps in 3 segments.
    "pool1": (case("AlexNetReluLRNPool", [8, 96, 55, 55]), (46, 6), 5832),
    # 13 x 13 x 128 = 21,632 windows in 169 blocks, 338 programs.
    "pool2, half, channels last": (
        case("AlexNetReluLRNPool", [128, 256, 27, 27], dtype="HALF", layout="HWC8"),
        (169, 2),
        21632,
    ),
    # A row and a column behind the last: ceil((31 - 2) / 2) + 1 = 16 windows a side.
    "pool, rounded up": (
        case("AlexNetReluLRNPool", [4, 16, 31, 31], pool_size=2, pool_spill=1),
        (8, 2),
        1024,
    ),
}
VARIANTS = {
    f"{operator} {dtype} {layout}": case(operator, [8, 96, 27, 27], dtype=dtype, layout=layout)
    for operator in ("AlexNetLRN", "AlexNetReluLRNPool")
    for dtype in TYPES
    for layout in (*LAYOUTS, *(["HWC8"] if dtype != "FLOAT" else []))
}
QUESTIONS = {name: asked for name, (asked, _, _) in LAUNCHES.items()} | VARIANTS
QUESTIONS["twelve maps"] = case("AlexNetLRN", [1, 12, 9, 9])
QUESTIONS["other constants"] = case("AlexNetLRN", [8, 96, 55, 55], k=1.0, coefficient=2e-5)


def installed(module):
    """The folder of a package, without importing it; the test is skipped where it is missing."""
    found = importlib.util.find_spec(module)
    if found is None:
        pytest.skip(f"{module} is not installed: run `make venv`")
    return Path(found.origin).parent


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What NVIDIA's code says to all questions, asked once."""
    installed("tensorrt_bindings")
    installed("triton")
    lean = installed("tensorrt_lean_libs") / "libnvinfer_lean.so.11"
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("shims")
    for name, source in SHIMS.items():
        (folder / f"{name}.c").write_text(source)
        command = ["gcc", "-shared", "-fPIC", "-o", f"lib{name}.so.11", f"{name}.c"]
        if name == "nvinfer":
            command += ["-Wl,--no-as-needed", lean, f"-Wl,-rpath,{lean.parent}"]
        subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run(
        [sys.executable, ROOT / "tests/export/plugin_probe.py"],
        input=json.dumps({"target": 90, "cases": list(QUESTIONS.values())}),
        env=os.environ | {"LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return found | {"cases": dict(zip(QUESTIONS, found["cases"], strict=True))}


@pytest.fixture(scope="module")
def answered(answers):
    """Every question with its answer."""
    return [(QUESTIONS[name], found) for name, found in answers["cases"].items()]


# Registration


def test_both_plugins_are_in_nvidia_s_registry_once(answers):
    ours = [creator for creator in answers["creators"] if creator[0] == "alexnet"]
    quick = "PLUGIN CREATOR_V3QUICK"
    assert sorted(ours) == [
        ["alexnet", "AlexNetLRN", "1", quick],
        ["alexnet", "AlexNetReluLRNPool", "1", quick],
    ]


def test_a_plugin_takes_the_attributes_that_the_graph_s_nodes_have(answered):
    for asked, found in answered:
        assert found["fields"] == list(asked["attributes"])


def test_the_plugin_is_one_that_was_compiled_ahead_of_time(answered):
    for _, found in answered:
        assert found["ahead of time"]
        assert found["class"] == "_TemplateAOTPlugin"


# What goes in and out


def test_one_output_of_the_input_s_type_and_as_large_as_the_layer_s(answered):
    for asked, found in answered:
        assert found["outputs"] == 1
        assert found["types"] == [asked["dtype"]]
        _, channels, *sides = asked["shape"]
        if asked["operator"] == "AlexNetReluLRNPool":
            given = asked["attributes"]
            size, stride, spill = (given[f"pool_{name}"] for name in ("size", "stride", "spill"))
            sides = [len(range(0, side + spill - size + 1, stride)) for side in sides]
        assert found["shape"] == [asked["batch"], channels, *sides]


def test_three_types_in_rows_and_with_the_maps_last(answered):
    for asked, found in answered:
        expected = [(kind, layout) for layout in LAYOUTS for kind in TYPES]
        if asked["shape"][1] % 8 == 0:  # else the layout pads the maps, which the kernels don't
            expected += [("HALF", "HWC8"), ("BF16", "HWC8")]
        assert found["combinations"] == [[*one, *one] for one in expected]
        assert found["tactics"] == []


# The launch


@pytest.mark.parametrize("name", LAUNCHES)
def test_the_launch_is_the_one_worked_out_by_hand(answers, name):
    _, (across, down), positions = LAUNCHES[name]
    found = answers["cases"][name]
    assert found["launch"] == {
        "grid_x": across,
        "grid_y": down,
        "grid_z": 1,
        "block_x": 128,
        "block_y": 1,
        "block_z": 1,
        "shared_mem": 0,
    }
    assert found["extra"] == [positions]


# The code


def test_the_code_is_for_the_target_and_starts_where_it_says(answered):
    for asked, found in answered:
        assert re.search(r"^\.target sm_90a$", found["ptx"], re.M)
        entries = re.findall(r"\.visible \.entry (\w+)\(", found["ptx"])
        names = {"AlexNetLRN": "lrn_forward", "AlexNetReluLRNPool": "relu_lrn_pool"}
        assert entries == [found["kernel"]] == [names[asked["operator"]]]
        assert re.search(r"^\.reqntid 128$", found["ptx"], re.M)


def test_the_code_takes_the_input_then_the_integer_then_the_output(answered):
    for _, found in answered:
        declared = re.search(r"\.entry \w+\((.*?)\)", found["ptx"], re.S)[1]
        kinds = re.findall(r"\.param \.(u\d+)(?: \.ptr \.global)?", declared)
        assert kinds == ["u64", "u32", "u64"]


def test_the_code_names_no_file_of_the_machine_that_it_was_made_on(answered):
    for _, found in answered:
        assert str(ROOT) not in found["ptx"]
        assert ".loc" not in found["ptx"]


def test_nvidia_s_assembler_takes_the_code(answered, tmp_path):
    for _, found in answered:
        assembler = installed("triton") / "backends/nvidia/bin/ptxas"
        (tmp_path / "kernel.ptx").write_text(found["ptx"])
        command = [assembler, "--gpu-name=sm_90a", "-v", "kernel.ptx", "-o", "kernel.cubin"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "0 bytes spill stores, 0 bytes spill loads" in done.stderr


def test_types_layouts_constants_and_kernels_each_have_their_own_code(answers):
    cases = answers["cases"]
    # HWC8 is HWC where there is nothing to pad.
    different = [cases[name]["ptx"] for name in VARIANTS if "HWC8" not in name]
    different += [cases[name]["ptx"] for name in ("conv1", "other constants")]
    assert len(set(different)) == len(different)
    for name in VARIANTS:
        if "HWC8" in name:
            assert cases[name]["ptx"] == cases[name.replace("HWC8", "HWC")]["ptx"]


def test_values_are_moved_in_the_type_that_was_asked_for(answered):
    for asked, found in answered:
        # Sixteen bits at least are moved for a half, and never a float's conversion from one for
        # FLOAT.
        half = {"HALF": "f16", "BF16": "bf16"}.get(asked["dtype"])
        converted = set(re.findall(r"cvt\.(?:rn\.)?(bf16|f16)(?:x2)?\.f32", found["ptx"]))
        assert converted == ({half} if half else set())


# Where something is missing


def test_without_tensorrt_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingPackageError, match=r"pip install -e '\.\[tensorrt\]'"):
        register()


def test_without_a_gpu_a_target_must_be_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(AlexNetError, match="there is none here"):
        register()
