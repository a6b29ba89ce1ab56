"""A kernel's PTX takes what TensorRT passes, and nothing else."""

import importlib.util
import re

import pytest

from alexnet.config import LRNConfig
from export.plugin_kernels import Maps, kernel_for, reordered

PTX = """.version 8.8
.visible .entry f(
	.param .u64 .ptr .global .align 1 f_param_0,
	.param .u64 .ptr .global .align 1 f_param_1,
	.param .u32 f_param_2,
	.param .u64 .ptr .global .align 1 f_param_3
)
.reqntid 128
{
	ld.param.b64 %rd1, [f_param_0];
	ld.param.b64 %rd2, [f_param_1];
	ld.param.b32 %r1, [f_param_2];
}
"""


def test_only_the_declarations_move():
    first, second, third, hidden = re.findall(r"\t\.param .*f_param_\d", PTX)
    before = ",\n".join((first, second, third, hidden))
    assert before in PTX
    after = ",\n".join((first, third, second))
    assert reordered(PTX, "f", order=[0, 2, 1]) == PTX.replace(before, after)


def test_a_parameter_that_the_code_reads_cannot_be_left_out():
    with pytest.raises(ValueError, match="f reads its parameter 2, which TensorRT does not pass"):
        reordered(PTX, "f", order=[0, 1])


@pytest.mark.parametrize(
    ("target", "named"), [(80, "sm_80"), (89, "sm_89"), (90, "sm_90a"), (120, "sm_120a")]
)
def test_there_is_code_for_every_generation(target, named):
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    maps = Maps(shape=(8, 96, 55, 55), kind="fp16", channels_last=True)
    kernel, launch = kernel_for(maps, LRNConfig(), columns=2, target=target)
    assert re.search(rf"^\.target {named}$", kernel.ptx, re.M)
    assert (kernel.name, kernel.threads, kernel.shared) == ("lrn_forward", 128, 0)
    assert launch.result == maps.shape
