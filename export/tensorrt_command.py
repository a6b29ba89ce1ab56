"""`alexnet-export tensorrt`: the options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click

from alexnet import options
from alexnet.backends.base import ArtifactInfo, Precision
from alexnet.backends.engine import Flavour, Hardware
from alexnet.config import Views
from alexnet.console import Command, log
from alexnet.errors import AlexNetError
from export import precision_options

if TYPE_CHECKING:
    from export.accuracy import Gate


class Profile(click.ParamType[tuple[int, int, int]]):
    """`1,8,64`, or one number for all three."""

    name = "profile"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int, int]:
        """Three integers."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = [int(part) for part in str(value).split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 3):
            self.fail(f"'{value}' is not of the form MIN,BEST,MAX.", param, ctx)
        least, best, most = numbers if len(numbers) == 3 else numbers * 3
        return least, best, most


@click.command(cls=Command)
@click.argument("source", type=click.Path(path_type=Path), required=False)
@click.option(
    "-o",
    "--output",
    type=options.OutputFile(streams=False),
    required=True,
    help="The .engine file to write; FILE.engine.json goes beside it.",
)
@click.option(
    "--flavour",
    type=click.Choice(get_args(Flavour)),
    default="tensorrt",
    show_default=True,
    help="TensorRT builds for the GPU at hand; TensorRT for RTX needs no GPU to build.",
)
@precision_options.precision
@click.option(
    "--lrn",
    type=click.Choice(["plugin", "native"]),
    default="native",
    show_default=True,
    help="Response normalisation by this project's kernel (--flavour tensorrt), or by TensorRT.",
)
@click.option(
    "--batch",
    type=Profile(),
    default="1,8,64",
    show_default=True,
    metavar="MIN,BEST,MAX",
    help="Fewest photos of a call, those it is to be fastest with, and most; one number for all.",
)
@options.views
@click.option("--features", is_flag=True, help="Add the output `features`.")
@precision_options.calibrate
@precision_options.method
@precision_options.validation
@click.option(
    "--targets",
    metavar="8.6,12.0,...",
    show_default="what TensorRT for RTX builds for by itself",
    help="Compute capabilities to build for (--flavour rtx).",
)
@click.option(
    "--timing-cache",
    type=options.OutputFile(streams=False),
    help="File of what was timed before; made or added to (--flavour tensorrt).",
)
@click.option(
    "--version-compatible", is_flag=True, help="Later TensorRTs run it (--flavour tensorrt)."
)
@click.option(
    "--hardware-compatible",
    "hardware",
    type=click.Choice(get_args(Hardware)),
    default="this",
    show_default=True,
    help="GPUs that run it: this model, the same compute capability, or all from Ampere on "
    "(--flavour tensorrt).",
)
def tensorrt(
    source: Path | None,
    output: Path,
    flavour: Flavour,
    precision: Precision | None,
    lrn: Literal["plugin", "native"],
    batch: tuple[int, int, int],
    views: Views | None,
    features: bool,
    calibrate: Path | None,
    method: Literal["percentile", "entropy", "nncf"] | None,
    targets: str | None,
    timing_cache: Path | None,
    version_compatible: bool,
    hardware: Hardware,
    gate: Gate,
) -> None:
    """Build SOURCE as a TensorRT engine.

    SOURCE is a checkpoint (.safetensors) or a graph (.onnx) that was exported for tensorrt, or a
    portable one.  [default: (the model that ships)]

    Accuracy is that of the graph that the engine is built from, run by ONNX Runtime: an engine runs
    on its GPU alone. Of bf16, which ONNX Runtime does not compute on CPUs, it can't be measured.
    """
    from alexnet.backends.engine import sidecar
    from alexnet.checkpoint import shipped_model
    from alexnet.files import check_output_file
    from export.choices import choices_for
    from export.engine_file import write
    from export.source import open_source
    from export.tensorrt import EngineOptions

    if output.suffix != ".engine":
        raise AlexNetError(f"The name of an engine ends in .engine, and {output} does not.")
    check_output_file(sidecar(output))
    asked = EngineOptions(
        flavour=flavour,
        lrn=lrn,
        batch=batch,
        targets=tuple(part.strip() for part in targets.split(",")) if targets else (),
        version_compatible=version_compatible,
        hardware=hardware,
        timing_cache=timing_cache,
    )
    opened = open_source(
        source or shipped_model(),
        views=views,
        features=features,
        choose=lambda config: choices_for("tensorrt", config),
    )
    _check_target(opened.info)
    if opened.info.views == "dense":
        raise AlexNetError(
            "An engine is built for photos of one shape, and dense answers are of any: take the "
            "views ten or centre, or ONNX Runtime."
        )
    facts = write(
        opened,
        output,
        asked,
        precision=precision,
        calibrate=calibrate,
        method=method,
        gate=gate,
    )
    size = output.stat().st_size / 1e6
    log(
        f"Wrote {output}: {size:.1f} MB, by {flavour} {facts.tensorrt}, batches of {batch[0]} to "
        f"{batch[2]}."
    )


def _check_target(info: ArtifactInfo) -> None:
    """Refuse a graph whose form is another runtime's: it would hide what TensorRT has to see.

    One for OpenVINO leaves bf16 to OpenVINO, one for ONNX Runtime has int8 in the full layers
    alone, and both normalise without the operator that the plugins stand for.
    """
    if info.target in ("onnxruntime", "openvino"):
        raise AlexNetError(
            f"{info.path} was exported for {info.target}, in a form that TensorRT does not gain "
            "by: name its checkpoint, or a graph that alexnet-export onnx wrote with --for "
            "tensorrt."
        )
