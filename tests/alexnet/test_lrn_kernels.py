"""The Triton kernels: values in Triton's interpreter, and compiled code for three GPUs."""

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from alexnet.config import LRNConfig, PoolConfig
from alexnet.lrn import launch
from alexnet.lrn.launch import lrn_launch, pool_launch
from alexnet.lrn.op import lrn
from alexnet.lrn.reference import local_response_norm
from tests.alexnet.lrn_interpreted import CASES, PRINTED

ROOT = Path(__file__).parent.parent.parent
# Float32's own errors, and half an ulp of the result's type; a whole one of bfloat16, which the
# interpreter cuts off where a GPU rounds.
ROUNDING = {torch.float32: 1e-6, torch.float16: 2**-11 + 1e-6, torch.bfloat16: 2**-7 + 1e-6}

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs Triton, which is on Linux only"
)


@pytest.fixture(scope="session")
def interpreted(tmp_path_factory):
    """What the kernels wrote, by case, as `lrn_interpreted` ran them."""
    path = tmp_path_factory.mktemp("lrn") / "found.pt"
    run_python("-m", "tests.alexnet.lrn_interpreted", path, TRITON_INTERPRET="1")
    return torch.load(path)


def run_python(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def agree(found, truth, *, dtype):
    assert found.dtype == dtype
    assert found.shape == truth.shape
    scale = float(truth.abs().max()) if truth.numel() else 0.0
    torch.testing.assert_close(
        found.double(), truth, rtol=ROUNDING[dtype], atol=ROUNDING[dtype] * scale / 10
    )


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_the_references(interpreted, name):
    case = CASES[name]
    maps, slopes = (tensor.double() for tensor in case.inputs())
    maps.requires_grad_()
    truth = local_response_norm(maps, case.lrn, columns=case.columns)
    (true_gradient,) = torch.autograd.grad(truth, maps, slopes)
    agree(interpreted[name]["values"], truth.detach(), dtype=case.dtype)
    agree(interpreted[name]["gradient"], true_gradient, dtype=case.dtype)


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_one_kernel_does_relu_normalisation_and_pooling(interpreted, name):
    case = CASES[name]
    responses = local_response_norm(
        case.inputs()[0].double().relu(), case.lrn, columns=case.columns
    )
    truth = F.max_pool2d(responses, case.pool.size, case.pool.stride, ceil_mode=case.pool.ceil)
    agree(interpreted[name]["pooled"], truth, dtype=case.dtype)


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_what_comes_out_is_laid_out_as_what_went_in(interpreted, name):
    layout = torch.channels_last if CASES[name].channels_last else torch.contiguous_format
    for tensor in interpreted[name].values():
        if not tensor.numel():
            continue  # what is empty has every layout
        assert tensor.is_contiguous(memory_format=layout)


@pytest.mark.slow
@needs_triton
def test_a_nan_reaches_its_neighbours_and_its_windows_as_in_the_reference(interpreted):
    maps = CASES["odd sides, NCHW"].inputs()[0]
    maps[0, 3, 2, 2] = torch.nan
    truth = local_response_norm(maps, PRINTED, columns=2)
    assert torch.equal(interpreted["nan"]["values"].isnan(), truth.isnan())
    rectified = local_response_norm(maps.relu(), PRINTED, columns=2)
    pooled = F.max_pool2d(rectified, 3, 2, ceil_mode=True)
    assert torch.equal(interpreted["nan"]["pooled"].isnan(), pooled.isnan())
    assert pooled.isnan().any()


@pytest.mark.slow
@needs_triton
def test_maps_need_not_be_dense(interpreted):
    sparse = CASES["odd sides, NCHW"].inputs()[0][:, :, ::2, 1:].double()
    truth = local_response_norm(sparse, PRINTED, columns=2)
    agree(interpreted["not dense"]["values"], truth, dtype=torch.float32)


@needs_triton
def test_without_a_gpu_triton_is_refused_in_a_sentence():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="need a GPU"):
        lrn(torch.ones(1, 4, 2, 2), LRNConfig(), implementation="triton")


def test_without_triton_a_sentence_says_how_to_get_it():
    code = (
        "import sys; sys.modules['triton'] = None; import torch\n"
        "from alexnet.config import LRNConfig; from alexnet.lrn.op import lrn\n"
        "try: lrn(torch.ones(1, 4, 2, 2), LRNConfig(), implementation='triton')\n"
        "except ValueError as error: print(error)"
    )
    assert run_python("-c", code) == (
        "Triton is not installed: run `pip install -e '.[triton]'`.\n"
    )


def test_the_operator_does_not_import_triton_before_it_is_used():
    code = (
        "import sys, torch; from alexnet.config import LRNConfig; from alexnet.lrn.op import lrn\n"
        "lrn(torch.ones(1, 4, 2, 2), LRNConfig()); print('triton' in sys.modules)"
    )
    assert run_python("-c", code) == "False\n"


@needs_triton
def test_the_launches_name_every_argument_in_the_kernels_order():
    from alexnet.lrn import kernels

    shape, memory = (2, 12, 5, 7), {"itemsize": 4, "channels_last": False}
    for made in (
        lrn_launch("lrn_forward", shape, LRNConfig(), columns=2, **memory),
        lrn_launch("lrn_backward", shape, LRNConfig(), columns=2, **memory),
        pool_launch(shape, LRNConfig(), PoolConfig(), columns=2, **memory),
    ):
        given = [*made.pointers, *made.sizes, *made.constants]
        assert given == list(inspect.signature(getattr(kernels, made.kernel).fn).parameters)


def test_a_launch_covers_every_position_of_every_column():
    memory = {"columns": 2, "itemsize": 2, "channels_last": True}
    large = lrn_launch("lrn_forward", (128, 96, 55, 55), LRNConfig(), **memory)
    assert large.grid == (-(-128 * 55 * 55 // launch.BLOCK), 2)  # a whole column a program
    small = lrn_launch("lrn_forward", (1, 96, 5, 5), LRNConfig(), **memory)
    assert small.grid == (1, 6)  # columns of 48 maps in segments of 16
    pooled = pool_launch((1, 96, 55, 55), LRNConfig(), PoolConfig(), **memory)
    assert pooled.result == (1, 96, 27, 27)
    assert pooled.grid == (-(-27 * 27 // launch.BLOCK), 6)


@needs_triton
def test_the_kernels_compile_for_three_generations_and_spill_nothing():
    said = run_python("scripts/lrn_kernels.py", "--kinds", "fp16", "--layouts", "NHWC")
    rows = json.loads(said)
    assert {row["target"] for row in rows} == {80, 90, 120}
    assert {row["kernel"] for row in rows} == {"lrn_forward", "lrn_backward", "relu_lrn_pool"}
    for row in rows:
        assert row["spilled"] == 0, row
        assert row["shared"] == 0, row
        assert row["registers"] <= 168, row  # 3 blocks of 128 lanes on a multiprocessor


@needs_triton
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("", "None"),
        ("tensors[-1].mul_(1.001)", "Triton's kernels give wrong values here (by 1.0e-03"),
        ("raise RuntimeError('no PTX')", "Triton's kernels do not run here (RuntimeError: no PTX)"),
    ],
)
def test_kernels_are_tried_before_they_are_trusted(change, said):
    code = (
        "from alexnet.lrn import operators\nrun = operators._run\n"
        f"def changed(launch, *tensors):\n    run(launch, *tensors); {change}\n"
        "operators._run = changed\nprint(operators.why_no_triton())"
    )
    assert run_python("-c", code, TRITON_INTERPRET="1").startswith(said)
