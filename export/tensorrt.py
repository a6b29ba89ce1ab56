"""Engines: a graph of ours, built by TensorRT or by TensorRT for RTX.

Both flavours have one interface. TensorRT builds for the GPU at hand and takes plugins; TensorRT
for RTX needs no GPU to build, compiles for one where the engine is opened, and takes no plugins.
Networks are strongly typed: the graph has decided on the precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import onnx

from alexnet.backends.base import ArtifactInfo
from alexnet.backends.engine import Flavour, Hardware
from alexnet.backends.metadata import info_of_model
from alexnet.backends.tensorrt_library import NAMES, load_library, logger_of, one_line, reason
from alexnet.console import progress
from alexnet.errors import AlexNetError
from alexnet.files import atomic_path
from export.tensorrt_monitor import PARTS, monitor_of


class EngineError(AlexNetError):
    """An engine that can't be built."""


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How an engine is to be built."""

    flavour: Flavour = "tensorrt"
    lrn: Literal["plugin", "native"] = "native"
    """Response normalisation by the project's kernel, or by TensorRT's own."""
    batch: tuple[int, int, int] = (1, 8, 64)
    """Fewest photos of a call, those it is to be fastest with, and most."""
    targets: tuple[str, ...] = ()
    """Compute capabilities to build for (rtx); empty: what the library builds for by itself."""
    version_compatible: bool = False
    """Let later versions of TensorRT run it (tensorrt)."""
    hardware: Hardware = "this"
    """GPUs that are to run it (tensorrt)."""
    timing_cache: Path | None = None
    """File of what was timed before (tensorrt); it is made, or added to."""

    def __post_init__(self) -> None:
        """Check that the options go together, and with the flavour."""
        least, best, most = self.batch
        if not 1 <= least <= best <= most:
            raise EngineError(
                f"A batch profile is MIN,BEST,MAX in rising order, from 1 on, not {least},{best},"
                f"{most}."
            )
        if self.flavour == "rtx":
            self._check_rtx()
        elif self.targets:
            raise EngineError(
                "TensorRT builds for the GPU at hand: --targets is for --flavour rtx; "
                "--hardware-compatible ampere makes an engine for others, too."
            )

    def _check_rtx(self) -> None:
        refused = {
            "--lrn plugin": (self.lrn == "plugin", "it takes no plugins: take --lrn native"),
            "--version-compatible": (self.version_compatible, "only its own version runs it"),
            "--hardware-compatible": (self.hardware != "this", "name GPUs with --targets"),
            "--timing-cache": (self.timing_cache is not None, "it times nothing while it builds"),
        }
        for option, (given, why) in refused.items():
            if given:
                raise EngineError(f"TensorRT for RTX has no {option}: {why}.")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A built engine."""

    plan: bytes
    tensorrt: str
    """Version of the library that built it."""
    targets: tuple[str, ...]
    """Compute capabilities that it was built for, as far as they are known."""


def build_engine(model: onnx.ModelProto, options: EngineOptions) -> Engine:
    """Build an engine of a graph.

    Args:
        model: a graph of ours in the precision that is wanted; with `lrn="plugin"`, one of
            `export.plugin_graph`.
        options: how.

    Raises:
        MissingPackageError: TensorRT is not installed.
        EngineError: it does not take the graph or the options; the sentence gives its reason.
        KeyboardInterrupt: Ctrl-C, once TensorRT has stopped.
    """
    library = load_library(options.flavour)
    info = info_of_model(model)
    logger = logger_of(library)
    name = f"{NAMES[options.flavour]} {library.__version__}"
    builder = _made(
        lambda: library.Builder(logger),
        f"{name} can't build here. It says: {{}}; it needs an NVIDIA GPU and its driver "
        "(--flavour rtx builds without).",
        logger,
    )
    network = builder.create_network(_flags(library))
    if options.lrn == "plugin":
        _register_plugins(options)
    # A parser is to live as long as the network: the weights that it read belong to it.
    parser = library.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        raise EngineError(f"{name} does not take this graph. It says: {_parser_reason(parser)}")
    config = _config(library, builder, info, options)
    _set_targets(library, config, options.targets)
    plan = _built(library, builder, network, config, options=options, logger=logger)
    if options.timing_cache is not None:
        with atomic_path(options.timing_cache) as file:
            file.write_bytes(bytes(config.get_timing_cache().serialize()))
    return Engine(
        plan=plan,
        tensorrt=str(library.__version__),
        targets=options.targets or _here(options.flavour),
    )


def _built(
    library: ModuleType,
    builder: Any,
    network: Any,
    config: Any,
    *,
    options: EngineOptions,
    logger: Any,
) -> bytes:
    name = f"{NAMES[options.flavour]} {library.__version__}"
    with progress("Building", total=PARTS, unit="") as bar:
        monitor = monitor_of(library, bar)
        config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
    if monitor.interrupted:
        raise KeyboardInterrupt
    if plan is None:
        raise EngineError(f"{name} built no engine. It says: {reason(logger)}")
    return bytes(plan)


def _register_plugins(options: EngineOptions) -> None:
    from export.lrn_plugin import register

    # Code for compute capability 8.0 runs on all later ones; else for the GPU at hand.
    register(80 if options.hardware == "ampere" else None)


def _flags(library: ModuleType) -> int:
    """Types as the graph has them, where a version still asks whether it should."""
    flag = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _config(library: ModuleType, builder: Any, info: ArtifactInfo, options: EngineOptions) -> Any:
    config = builder.create_builder_config()
    # TF32 rounds inputs to 10 bits: float32 is to be float32.
    config.clear_flag(library.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(library.BuilderFlag.VERSION_COMPATIBLE)
    levels = library.HardwareCompatibilityLevel
    if options.hardware != "this":
        config.hardware_compatibility_level = {
            "same": levels.SAME_COMPUTE_CAPABILITY,
            "ampere": levels.AMPERE_PLUS,
        }[options.hardware]
    if options.timing_cache is not None:
        known = options.timing_cache.read_bytes() if options.timing_cache.is_file() else b""
        cache = config.create_timing_cache(known)
        if cache is None or not config.set_timing_cache(cache, False):
            raise EngineError(
                f"{options.timing_cache} is no timing cache of this TensorRT and GPU: name "
                "another file."
            )
    side = info.config.input.size
    profile = builder.create_optimization_profile()
    profile.set_shape("photos", *[(count, side, side, 3) for count in options.batch])
    config.add_optimization_profile(profile)
    return config


def _set_targets(library: ModuleType, config: Any, targets: tuple[str, ...]) -> None:
    if not targets:
        return
    known = {
        f"{name[2:-1]}.{name[-1]}": value
        for name, value in library.ComputeCapability.__members__.items()
        if name.startswith("SM")
    }
    config.num_compute_capabilities = len(targets)
    for place, target in enumerate(targets):
        if target not in known:
            raise EngineError(
                f"TensorRT for RTX {library.__version__} does not build for compute capability "
                f"{target}, only for {', '.join(known)}."
            )
        if not config.set_compute_capability(known[target], place):
            raise EngineError(f"TensorRT for RTX refuses {target} among {', '.join(targets)}.")


def _here(flavour: Flavour) -> tuple[str, ...]:
    """The GPU at hand, for which TensorRT builds; TensorRT for RTX builds for all that it knows."""
    if flavour == "rtx":
        return ()
    from alexnet.backends.cuda import Cuda

    return (Cuda(0).capability,)


def _parser_reason(parser: Any) -> str:
    """What the parser says of the first node that it does not take."""
    if parser.num_errors == 0:
        return "nothing."
    error = parser.get_error(0)
    where = f"{error.node_name()} ({error.node_operator()}): " if error.node_name() else ""
    return f"{where}{one_line(error.desc())}"


def _made(make: Callable[[], Any], sentence: str, logger: Any) -> Any:
    """What `make` gives; where that is nothing, `sentence` with the reason in it."""
    try:
        made = make()
    except Exception as error:  # the bindings raise what C++ gave them
        raise EngineError(sentence.format(reason(logger))) from error
    if made is None:
        raise EngineError(sentence.format(reason(logger)))
    return made
