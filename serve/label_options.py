"""Options of `alexnet-label`, and what they mean together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, get_args

import click

from alexnet import options
from alexnet.backends import BACKENDS
from alexnet.files import (
    OutputPathError,
    check_output_file,
    check_output_folder,
    final_path,
    is_stream,
)
from alexnet.photo import MAX_PIXELS
from serve.formats import ENDINGS, EXPORTS, ON_STDOUT, Format
from serve.inputs import Inputs
from serve.manifests import DELIMITERS, is_parquet
from serve.target import Target
from serve.task import Labelling

# What --ray may be followed by; a photo's name behind it was meant as a photo.
_ADDRESS = re.compile(r"local|auto|[^/\s]+:\d+")


def _ray_address(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    if text is not None and text.startswith("ray://"):
        raise click.BadParameter(
            "Ray Data does not run through Ray's client: give the HOST:PORT that `ray start` "
            "named, or run the command on a machine of the cluster, with --ray auto."
        )
    if text is not None and not _ADDRESS.fullmatch(text):
        raise click.BadParameter(
            f"{text} is no address such as auto or HOST:PORT. Without an address, give --ray last, "
            "or write --ray=local."
        )
    return text


def _delimiter(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    character = DELIMITERS.get(text, "\t" if text == "\\t" else text)
    if len(character) != 1 or character in '\r\n"':
        raise click.BadParameter(
            f"{text!r} is neither one character nor one of {', '.join(DELIMITERS)}."
        )
    return character


_OPTIONS = [
    click.argument("photos", nargs=-1),
    click.option(
        "--manifest",
        metavar="FILE",
        help="A CSV or Parquet table with a column of paths, relative to the table's folder.",
    ),
    click.option(
        "--path-column",
        default="path",
        show_default=True,
        metavar="NAME",
        help="The manifest's column.",
    ),
    click.option(
        "--delimiter",
        metavar="CHARACTER",
        callback=_delimiter,
        show_default="found in the line of names",
        help="What stands between a CSV manifest's cells: a character, or its name "
        f"({', '.join(DELIMITERS)}).",
    ),
    click.option(
        "-0", "--null", is_flag=True, help="Paths on stdin end with null characters, not lines."
    ),
    click.option(
        "-o",
        "--output",
        default="-",
        metavar="FILE|FOLDER/",
        show_default="stdout",
        help="File for the rows: .csv, .jsonl for JSON lines, .parquet. A folder, named with a "
        "slash at its end, gets the parts as files of their own. - is stdout; a device or a named "
        "pipe gets the rows as they come.",
    ),
    click.option(
        "--format",
        "format_name",
        type=click.Choice(get_args(Format)),
        show_default="by the output's ending; csv on stdout and in folders",
        help="Format of the rows; label-studio (one JSON file) and fiftyone (a folder) can be "
        "imported there.",
    ),
    click.option(
        "--columns",
        "naming",
        type=click.Choice(["alexnet", "timm"]),
        default="alexnet",
        show_default=True,
        help="Whose names the columns have; timm's are filename, index, label, prob and error.",
    ),
    click.option(
        "--probabilities", is_flag=True, help="Add a column with the probabilities of all classes."
    ),
    click.option(
        "--features", is_flag=True, help="Add a column with fc7's values, the mean over the views."
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Continue an unfinished run of the same command; begin one where there is none.",
    ),
    click.option(
        "--part-photos",
        type=click.IntRange(min=1),
        default=10_000,
        show_default=True,
        help="Photos in a part, rounded up to whole batches. An interrupted part is done again.",
    ),
    click.option(
        "--model",
        type=click.Path(path_type=Path),
        show_default="the model that ships",
        help="Checkpoint (.safetensors) or exported model (.onnx, .engine).",
    ),
    click.option(
        "--backend",
        type=click.Choice(["auto", *BACKENDS]),
        default="auto",
        show_default=True,
        help="What runs the model; auto goes by its ending.",
    ),
    options.views,
    options.device,
    options.threads,
    options.mode,
    click.option(
        "--top-k",
        type=click.IntRange(min=1),
        show_default="5, or all where there are fewer",
        help="Classes in each row.",
    ),
    click.option(
        "--names",
        is_flag=True,
        help="Write the classes' names ('tabby, tabby cat') instead of their ids ('n02123045').",
    ),
    click.option(
        "--batch",
        type=click.IntRange(min=1),
        show_default="4 where batches run side by side, each on a core, else 16",
        help="Photos that the model gets at once.",
    ),
    click.option(
        "--decoders",
        type=click.IntRange(min=1),
        show_default="one per core",
        help="Photos that are decoded at once.",
    ),
    click.option(
        "--readers",
        type=click.IntRange(min=1),
        default=16,
        show_default=True,
        help="URLs that are read at once.",
    ),
    click.option(
        "--fast",
        is_flag=True,
        help="Shrink large photos while they are decoded: several times faster from about two "
        "megapixels on, with slightly different pixels and now and then another answer.",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        default=MAX_PIXELS,
        show_default=True,
        help="Refuse larger photos (width times height) before they are decoded.",
    ),
    click.option(
        "--ray",
        is_flag=False,
        flag_value="local",
        metavar="[ADDRESS]",
        callback=_ray_address,
        help="Do the work on a Ray cluster: HOST:PORT, or auto for the one of this machine; "
        "without an address on a Ray of its own. A predictor for each CPU, --threads CPUs or GPU.",
    ),
]


def label_options(command: Any) -> Any:
    """Decorate a command with the arguments and options of a labelling."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def labelling(
    *,
    photos: tuple[str, ...],
    manifest: str | None,
    path_column: str,
    delimiter: str | None,
    null: bool,
    output: str,
    format_name: str | None,
    **others: Any,
) -> Labelling:
    """What the values of `label_options` ask for, in the command that runs.

    Raises:
        click.UsageError: they do not go together, or nothing would read one that was given.
    """
    if not photos and manifest is None:
        raise click.UsageError("Missing argument 'PHOTOS...': name photos, or give --manifest.")
    if photos.count("-") > 1:
        raise click.UsageError("There is one stdin: - can be given once.")
    if null and "-" not in photos:
        raise click.UsageError("--null is about the list on stdin: give - for PHOTOS.")
    if manifest is None:
        options.refuse_unread(
            "path_column", "delimiter", reason="There is no manifest with columns"
        )
    elif is_parquet(manifest):
        options.refuse_unread("delimiter", reason="A Parquet table has no delimiters")
    wanted = cast(Format | None, format_name)
    with _usage():
        stream = Path(output) if output != "-" and is_stream(output) else None
        target = None if output == "-" or stream else _target(output, wanted)
    kind = _stream_format(output, wanted) if target is None else target.format
    if kind in EXPORTS:
        options.refuse_unread(
            "naming", "top_k", reason=f"{kind} has fields of its own, with one class"
        )
    if target is None:
        where = "a device or a pipe" if stream else "stdout"
        if others["resume"]:
            raise click.UsageError(f"What went to {where} can't be resumed: name a file.")
        options.refuse_unread("part_photos", reason=f"Rows on {where} are not written in parts")
        if others["ray"] is not None:
            raise click.UsageError(f"--ray writes its rows in parts, not to {where}: name a file.")
    if others["ray"] is not None and others["device"] not in ("cpu", "cuda"):
        raise click.UsageError(f"Ray chooses the GPUs: give --device cuda, not {others['device']}.")
    return Labelling(
        inputs=Inputs(
            arguments=photos,
            manifest=manifest,
            path_column=path_column,
            delimiter=delimiter,
            null=null,
        ),
        output=target,
        stream=stream,
        format=kind,
        **others,
    )


@contextmanager
def _usage() -> Iterator[None]:
    """What can't be written is wrong use, found out before anything is read."""
    try:
        yield
    except OutputPathError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:  # links that go round in a circle
        raise click.UsageError(f"{error.filename}: {error.strerror}.") from error


def _stream_format(output: str, wanted: Format | None) -> Format:
    """The format of rows that go to stdout, a device or a pipe."""
    kind = wanted or ENDINGS.get(Path(output).suffix.lower(), "csv")
    if kind not in ON_STDOUT:
        where = "stdout" if output == "-" else "a device or a pipe"
        raise click.UsageError(f"{kind} can't be written to {where}: name a file.")
    return kind


def _target(output: str, format: Format | None) -> Target:
    path = Path(output)
    is_folder = output.endswith("/") or path.is_dir()
    meant = ENDINGS.get(path.suffix.lower())
    if not is_folder and format is not None and meant not in (None, format):
        raise click.UsageError(
            f"The name {output} says {meant}, and --format says {format}: leave one of them out."
        )
    if format == "fiftyone" and not path.name:
        raise click.UsageError(f"{output} is no name for a new folder.")
    keeps_parts = is_folder and format != "fiftyone"
    kind = format or "csv" if keeps_parts else format or meant
    if kind is None:
        raise click.UsageError(
            f"{output} does not say its format: end it in {', '.join(ENDINGS)}, or in / for a "
            "folder, or give --format."
        )
    (check_output_folder if keeps_parts or kind == "fiftyone" else check_output_file)(path)
    # Through a link, what it points at is written, and its parts lie beside that.
    return Target(
        path=final_path(path) if path.is_symlink() else path, format=kind, keeps_parts=keeps_parts
    )
