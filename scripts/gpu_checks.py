"""What a GPU has to show: the same answers as the CPU, and how fast. `scripts/on_gpu.sh` runs it.

Needs the core and torch only. Each check stands alone: one that fails or lacks a package leaves its
reason in the JSON, and the others run. Exits with 1 where a check failed.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import platform
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from gpu_lrn import lrn_against_reference, lrn_kernels
from gpu_training import MODES, tensor_float32, training_steps
from torch import Tensor

from alexnet.checkpoint import Checkpoint
from alexnet.config import preset
from alexnet.console import sentences
from alexnet.errors import AlexNetError, optional_import
from alexnet.files import check_output_file, write_json
from train.untrained import made_up_photos, untrained

PRESETS = ("paper", "net145", "caffe", "torchvision", "mini")


class Checks:
    """Runs checks on one device and keeps what they found."""

    def __init__(self, device: str, *, quick: bool) -> None:
        self.device = torch.device(device)
        self.quick = quick
        self.presets = ("mini",) if quick else PRESETS
        self.found: dict[str, Any] = {}

    def run(self, name: str, check: Callable[[], dict[str, Any]]) -> None:
        """Run one check; its figures, its reason not to run, or its failure."""
        started = time.perf_counter()
        try:
            result = {"status": "ok", **check()}
        except AlexNetError as error:
            result = {"status": "not run", "reason": str(error)}
        except Exception as error:
            traceback.print_exc()
            result = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        result["seconds"] = round(time.perf_counter() - started, 2)
        self.found[name] = result
        print(f"{name}: {json.dumps(result)}", flush=True)

    def median_ms(self, work: Callable[[], object], *, runs: int = 20) -> float:
        """Median time of a call in milliseconds, the device's queue drained before and after."""
        times = []
        for index in range(3 + (3 if self.quick else runs)):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            if index >= 3:
                times.append(1000 * (time.perf_counter() - started))
        return statistics.median(times)

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    # The checks

    def ceilings(self) -> dict[str, Any]:
        """What the device can do: matrix products and copies of random data."""
        side = 512 if self.quick else 8192
        found = {}
        for mode, dtype in MODES.items():
            a, b = (torch.randn(side, side, device=self.device).to(dtype) for _ in range(2))
            with tensor_float32(mode == "tf32"):
                milliseconds = self.median_ms(functools.partial(torch.matmul, a, b))
            found[f"{mode}_tflops"] = 2 * side**3 / milliseconds / 1e9
        source = torch.randn(2**20 if self.quick else 2**29, device=self.device)
        target = torch.empty_like(source)
        milliseconds = self.median_ms(lambda: target.copy_(source))
        return found | {"copy_gb_per_s": 2 * source.nbytes / milliseconds / 1e6}

    def lrn_against_reference(self) -> dict[str, Any]:
        """Response normalisation, as the network calls it, against the reference."""
        return lrn_against_reference(self)

    def lrn_kernels(self) -> dict[str, Any]:
        """The Triton kernels against the reference, a copy, and what else computes the same."""
        return lrn_kernels(self)

    def same_answers_as_the_cpu(self) -> dict[str, Any]:
        """Probabilities of ten views: this device in float32, bf16 and fp16 against the CPU."""
        found: dict[str, Any] = {}
        for name, checkpoint, photos in self._networks():
            expected = _probabilities(checkpoint, photos, torch.device("cpu"))
            exact = _probabilities(checkpoint, photos, self.device)
            found[name] = {"float32": float((exact - expected).abs().max())}
            _require(found[name]["float32"] < 1e-5, f"{name} differs from the CPU: {found[name]}")
            for dtype in (torch.bfloat16, torch.float16):
                with torch.autocast(self.device.type, dtype):
                    rounded = _probabilities(checkpoint, photos, self.device)
                agreement = (rounded.argmax(1) == expected.argmax(1)).float().mean()
                found[name][str(dtype)[6:]] = {
                    "max_difference": float((rounded - expected).abs().max()),
                    "top1_agreement": float(agreement),
                }
        return found

    def training_steps(self) -> dict[str, Any]:
        """Steps per second of net #145, and how near they come to the matrix products' peak."""
        return training_steps(self)

    def onnx_runtime(self) -> dict[str, Any]:
        """The exported graph in ONNX Runtime on this device against PyTorch on the CPU."""
        optional_import("onnx")
        from alexnet.backends import open_backend
        from export.graph import write_onnx

        found = {}
        for name, checkpoint, photos in self._networks():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, f"{name}.onnx")
                write_onnx(checkpoint, path)
                backend = open_backend(path, backend="onnxruntime", device=str(self.device))
            pixels = photos.numpy()
            answers = torch.from_numpy(backend.run(pixels))
            expected = _probabilities(checkpoint, photos, torch.device("cpu"))
            found[name] = {
                "max_difference": float((answers - expected).abs().max()),
                "ms": self.median_ms(functools.partial(backend.run, pixels)),
            }
            _require(found[name]["max_difference"] < 1e-5, f"{name} differs: {found[name]}")
        return found

    def _networks(self) -> Iterator[tuple[str, Checkpoint, Tensor]]:
        for name in self.presets:
            checkpoint = untrained(preset(name), seed=0, scaled=True)
            photos = made_up_photos(8, checkpoint.config.input, seed=1)
            yield name, checkpoint, torch.from_numpy(photos)


def _probabilities(checkpoint: Checkpoint, photos: Tensor, device: torch.device) -> Tensor:
    classifier = checkpoint.classifier("ten").to(device)
    with torch.inference_mode():
        probabilities: Tensor = classifier(photos.to(device))
    return probabilities.float().cpu()


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise RuntimeError(sentence)


def hardware(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on, and when."""
    cuda = device.type == "cuda"
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(device) if cuda else platform.processor() or "cpu",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
    }


def main() -> int:
    """Run every check and write what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--out", type=Path, default=Path("results/gpu.json"))
    parser.add_argument("--quick", action="store_true", help="small sizes: tries the script itself")
    options = parser.parse_args()
    check_output_file(options.out)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("There is no GPU here: nothing was verified.", file=sys.stderr)
        return 1
    checks = Checks(options.device, quick=options.quick)
    for check in (
        checks.ceilings,
        checks.lrn_against_reference,
        checks.lrn_kernels,
        checks.same_answers_as_the_cpu,
        checks.training_steps,
        checks.onnx_runtime,
    ):
        checks.run(check.__name__, check)
    machine = hardware(checks.device)
    write_json(options.out, {"machine": machine, "quick": options.quick, "checks": checks.found})
    return int(any(result["status"] == "failed" for result in checks.found.values()))


if __name__ == "__main__":
    with sentences("gpu_checks"):
        sys.exit(main())
