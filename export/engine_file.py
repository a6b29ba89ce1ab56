"""From a checkpoint or a graph to FILE.engine and FILE.engine.json."""

from __future__ import annotations

import hashlib
from pathlib import Path

from alexnet.backends.base import Precision
from alexnet.backends.engine import EngineFacts, write_engine
from alexnet.backends.tensorrt_library import load_library
from alexnet.machine import versions
from export.calibration import Method
from export.source import Source
from export.tensorrt import EngineOptions, build_engine


def write(
    source: Source,
    path: Path,
    options: EngineOptions,
    *,
    precision: Precision | None = None,
    calibrate: Path | None = None,
    method: Method | None = None,
) -> EngineFacts:
    """Build an engine of `source` and write it, with its JSON.

    Returns:
        What the JSON says of the engine.

    Raises:
        AlexNetError: a precision, the calibration or TensorRT refuses; nothing is written.
    """
    load_library(options.flavour)  # what is missing is said before the calibration takes its time
    model = source.plain
    if options.lrn == "plugin":
        from export.plugin_graph import plugin_graph

        model = plugin_graph(model)
    model = source.in_precision(precision, model=model, calibrate=calibrate, method=method)
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
        metadata={prop.key: prop.value for prop in model.metadata_props},
        versions=versions("torch", "onnx", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx"),
    )
    return facts
