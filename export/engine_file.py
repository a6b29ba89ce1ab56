"""From a checkpoint or a graph to FILE.engine and FILE.engine.json."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from alexnet.backends.base import Precision
from alexnet.backends.engine import EngineFacts, write_engine
from alexnet.backends.metadata import info_of_model
from alexnet.backends.tensorrt_library import load_library
from alexnet.errors import AlexNetError
from alexnet.json_text import to_json
from alexnet.machine import versions
from export.calibration import Method
from export.precision import set_metadata
from export.source import Source
from export.tensorrt import EngineOptions, build_engine

if TYPE_CHECKING:
    import onnx

    from export.accuracy import Gate

MEASURED_ON = "the graph that the engine was built from, run by the backend; not the engine"
"""What an engine's JSON says of its accuracy."""


def write(
    source: Source,
    path: Path,
    options: EngineOptions,
    *,
    precision: Precision | None = None,
    calibrate: Path | None = None,
    method: Method | None = None,
    gate: Gate | None = None,
) -> EngineFacts:
    """Build an engine of `source` and write it, with its JSON.

    Args:
        source: what it is built from.
        path: of the engine.
        options: how it is built.
        precision: as in `Source.in_precision`; so the next two.
        calibrate: photos for int8.
        method: how int8 finds ranges.
        gate: what was asked of its accuracy, which is that of the graph it is built from, run by
            ONNX Runtime; None: nothing.

    Returns:
        What the JSON says of the engine.

    Raises:
        AlexNetError: a precision, the plugins, the gate, the calibration or TensorRT refuses;
            nothing is written.
    """
    if gate is not None:
        _check(gate, precision, source)
    load_library(options.flavour)  # what is missing is said before the calibration takes its time
    model = source.plain
    if options.lrn == "plugin":
        from export.plugin_graph import DOMAIN, plugin_graph

        model = plugin_graph(model)
        if not any(node.domain == DOMAIN for node in model.graph.node):
            raise AlexNetError(
                f"{source.path} has no LRN node that the project's kernel could stand for: take "
                "--lrn native."
            )
    model = source.in_precision(precision, model=model, calibrate=calibrate, method=method)
    if gate is not None:
        measured = model
        if options.lrn == "plugin" and gate.validate is not None:  # ONNX Runtime can't run those
            measured = source.in_precision(precision, calibrate=calibrate, method=method)
        _pass(gate, measured, source, into=model)
    built = build_engine(model, options)
    facts = EngineFacts(
        flavour=options.flavour,
        tensorrt=built.tensorrt,
        batch=options.batch,
        lrn=options.lrn,
        targets=built.targets,
        version_compatible=options.version_compatible,
        hardware=options.hardware,
        source=source.path.name,
        source_sha256=source.sha256,
        engine_sha256=hashlib.sha256(built.plan).hexdigest(),
    )
    write_engine(
        path,
        built.plan,
        facts=facts,
        metadata=_metadata(model),
        versions=versions("torch", "onnx", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx"),
    )
    return facts


def _check(gate: Gate, precision: Precision | None, source: Source) -> None:
    """Refuse what can't be, before any work is done.

    Raises:
        AlexNetError: as `Gate.check`, or the accuracy can't be measured here.
    """
    own = source.info.precision
    asked = precision or own
    if asked == own and source.info.accuracy is not None and gate.validate is None:
        asked = "fp32"  # the graph was measured when it was written, and its accuracy goes along
    if asked == "bf16" and not gate.unvalidated:
        raise AlexNetError(
            "What bf16 costs an engine in accuracy can't be measured here: ONNX Runtime has no "
            "bf16 convolutions on CPUs. Build it with --unvalidated, and measure the engine on its "
            "GPU with alexnet-train evaluate."
        )
    gate.check(asked)
    if gate.validate is None:
        return
    if own != "fp32":
        raise AlexNetError(
            f"{source.path} is in {own} already, and --validate compares with float32: begin with "
            "its checkpoint, or validate the graph as alexnet-export onnx writes it."
        )
    if asked == "fp32" and source.choices is None:
        raise AlexNetError(
            f"{source.path} is in fp32, and so will the engine be: there is nothing to compare it "
            "with. Begin with its checkpoint, or leave out --validate."
        )


def _pass(gate: Gate, model: onnx.ModelProto, source: Source, *, into: onnx.ModelProto) -> None:
    """Let a graph pass the gate, and write its accuracy into the one that an engine is built of."""
    changed = info_of_model(model).precision != source.info.precision
    if not changed and gate.validate is None and source.info.accuracy is not None:
        return  # it was measured when it was written, and its accuracy came along
    if changed:
        set_metadata(model, accuracy="null")  # which was that of the source
    reference = source.plain if changed or source.choices is None else source.path
    passed = gate.passed(model, reference)
    set_metadata(into, accuracy=_facts(passed).get("accuracy", "null"))


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    """A graph's metadata as those of an engine, whose accuracy was not measured itself."""
    metadata = _facts(model)
    accuracy = json.loads(metadata.get("accuracy", "null"))
    if accuracy is not None:
        metadata["accuracy"] = to_json({"of": MEASURED_ON, **accuracy})
    return metadata


def _facts(model: onnx.ModelProto) -> dict[str, str]:
    return {prop.key: prop.value for prop in model.metadata_props}
