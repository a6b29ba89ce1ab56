"""Which backend runs a file, and why: one line for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from alexnet.backends.base import BackendError, Precision
from alexnet.backends.metadata import read_metadata
from alexnet.errors import install_command
from alexnet.machine import precision_note

BACKENDS = {
    "torch": ".safetensors",
    "onnxruntime": ".onnx",
    "openvino": ".onnx",
    "tensorrt": ".engine",
}
"""Names of the backends, and the ending of the files that each runs."""


@dataclass(frozen=True)
class Choice:
    """A backend, and the sentence that says why it is this one."""

    name: str
    reason: str


def choose(path: Path, wanted: str = "auto", *, device: str = "cpu") -> Choice:
    """The backend for a file: the one that is wanted, or by the file's ending and target.

    A portable graph of full precision is for any runtime. On a CPU OpenVINO takes less than half
    of ONNX Runtime's time for it (docs/results.md), and runs it where it is installed.

    Raises:
        BackendError: no backend runs the file, the wanted one does not, or the one that it was
            exported for is not installed.
    """
    fitting = [name for name, ending in BACKENDS.items() if path.suffix == ending]
    if wanted != "auto":
        return _wanted(path, wanted, fitting)
    if not fitting:
        endings = ", ".join(f"{ending} ({name})" for name, ending in BACKENDS.items())
        raise BackendError(f"No backend runs {path}: a model file ends in {endings}.")
    if path.suffix == ".onnx":
        return _for_graph(path, device)
    kind = {"torch": "a checkpoint", "tensorrt": "an engine"}[fitting[0]]
    return Choice(fitting[0], f"Backend {fitting[0]}: {path.name} is {kind}.")


def cpu_note(path: Path, backend: str) -> str | None:
    """What this CPU makes of a graph in a precision that it has no instructions for: a sentence.

    None where it has them, and where the file is no graph.

    Raises:
        BackendError: the graph is missing or damaged.
    """
    if backend not in ("onnxruntime", "openvino"):
        return None
    precision = read_metadata(path).get("precision", "fp32")
    if precision not in get_args(Precision) or (precision, backend) == ("fp16", "openvino"):
        return None  # OpenVINO widens the weights once, and computes in float32
    return precision_note(precision)


def _wanted(path: Path, wanted: str, fitting: list[str]) -> Choice:
    if wanted not in BACKENDS:
        raise BackendError(f"There is no backend '{wanted}': choose one of {', '.join(BACKENDS)}.")
    if wanted not in fitting:
        raise BackendError(
            f"The backend {wanted} runs {BACKENDS[wanted]} files, and {path} is not one."
        )
    return Choice(wanted, f"Backend {wanted}: it was asked for.")


def _for_graph(path: Path, device: str) -> Choice:
    metadata = read_metadata(path)
    target = metadata.get("target", "portable")
    file = f"{path.name} was exported for {target} ({metadata.get('precision', 'fp32')})"
    if target == "openvino":
        if find_spec("openvino") is None:
            raise BackendError(
                f"{file}, which is not installed: run `{install_command('openvino')}`, or take "
                "the backend onnxruntime, which is slower."
            )
        return Choice("openvino", f"Backend openvino: {file}.")
    if target == "tensorrt":
        return Choice("onnxruntime", f"Backend onnxruntime: {file}, and is no engine yet.")
    if target == "onnxruntime":
        return Choice("onnxruntime", f"Backend onnxruntime: {file}.")
    precision = metadata.get("precision", "fp32")
    graph = f"{path.name} is a portable graph ({precision})"
    if device == "cpu" and precision == "fp32" and _whole_constants(metadata):
        if find_spec("openvino") is not None:
            return Choice("openvino", f"Backend openvino: {graph}, which it runs faster on a CPU.")
        graph += ", and OpenVINO, which runs it faster on a CPU, is not installed"
    return Choice("onnxruntime", f"Backend onnxruntime: {graph}.")


def _whole_constants(metadata: Mapping[str, str]) -> bool:
    """Whether OpenVINO computes every LRN as it is written: it drops the fraction of k."""
    try:
        convs = json.loads(metadata["config"])["network"]["convs"]
        return all(float(conv["lrn"]["k"]).is_integer() for conv in convs if conv["lrn"])
    except (KeyError, TypeError, ValueError):
        return False  # of another program, which opening it says
