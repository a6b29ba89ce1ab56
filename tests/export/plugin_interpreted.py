"""scripts/gpu_plugin.py on a CPU: Triton's interpreter stands in for the GPU.

Runs with TRITON_INTERPRET=1 in a process of its own, as kernels are made for one or the other when
they are imported. What is launched is what the plugin would: its constants, its grid, `positions`.
Arguments: a number that every output is multiplied by (1 is right), and types.
"""

import json
import sys

import gpu_plugin

from alexnet.config import LRNConfig
from alexnet.lrn import kernels
from export.plugin_kernels import Kernel, launch_for


class Interpreter:
    device = "cpu"

    def launch(self, kernel, launch, maps, output):
        positions = output.shape[0] * output.shape[2] * output.shape[3]
        blocks = -(-positions // launch.constants["BLOCK"])
        sizes = launch.sizes | {"positions": positions}
        interpreted = getattr(kernels, launch.kernel)
        interpreted[(blocks, launch.grid[1])](maps, output, **sizes, **launch.constants)
        output *= float(sys.argv[1])


def not_compiled(maps, lrn, *, target, **options):
    return Kernel(name="", ptx="", threads=0, shared=0), launch_for(maps, lrn, **options)


gpu_plugin.kernel_for = not_compiled
# Two blocks, and columns in two segments.
gpu_plugin.LAYERS = {"small": (48, 9, 2, LRNConfig(size=3, alpha=0.01))}
gpu_plugin.BATCHES = ((1, 2),)
gpu_plugin.TYPES = {name: gpu_plugin.TYPES[name] for name in sys.argv[2:]}
found = gpu_plugin.run_all(Interpreter(), target=90)
print(json.dumps(found))
