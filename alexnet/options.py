"""Options that several commands have: one name, one meaning, one help text. For the rooms only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from alexnet.backends.base import Mode
from alexnet.config import PRESETS, Views
from alexnet.files import OutputPathError, check_output_file, check_output_folder, is_stream


class OutputFile(click.Path):
    """A file, device or pipe to write; refused before the work where nothing can be written."""

    def __init__(self, *, streams: bool = True) -> None:
        """`streams`: whether it may be a device or a pipe, of which nothing is read back."""
        super().__init__(path_type=Path)
        self._streams = streams

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            check_output_file(path)
        except OutputPathError as error:
            self.fail(str(error), param, ctx)
        if not self._streams and is_stream(path):
            self.fail(f"{path} is a device or a pipe: name a file.", param, ctx)
        return path


class OutputFolder(click.Path):
    """A folder to write; a device, a pipe or a file is refused before the work."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            check_output_folder(path)
        except OutputPathError as error:
            self.fail(str(error), param, ctx)
        return path


preset = click.option(
    "--preset", "preset_name", type=click.Choice(list(PRESETS)), required=True, help="The network."
)

settings = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="SECTION.FIELD=VALUE",
    help="Change a field of the config, checked against its type; may be given again.",
)

views = click.option(
    "--views",
    type=click.Choice(get_args(Views)),
    show_default="the model's own; a checkpoint's is ten",
    help="Average ten views of each photo, or take the centre alone (faster), or average over the "
    "whole photo, of any shape (dense).",
)

threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    show_default="the backend's own choice",
    help="CPU threads that run a model.",
)

mode = click.option(
    "--mode",
    type=click.Choice(get_args(Mode)),
    default="throughput",
    show_default=True,
    help="Batches side by side, a core each, or one at a time on all cores (latency).",
)

device = click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")


def given(*names: str) -> list[str]:
    """Of these parameters of the command that runs, the options that were given, as typed."""
    context = click.get_current_context()

    def is_given(parameter: click.Parameter) -> bool:
        if isinstance(parameter, click.Argument):  # none of many count as typed
            return bool(context.params.get(str(parameter.name)))
        source = context.get_parameter_source(str(parameter.name))
        return source is not ParameterSource.DEFAULT

    return [
        parameter.human_readable_name
        if isinstance(parameter, click.Argument)
        else max(parameter.opts, key=len)
        for parameter in context.command.params
        if parameter.name in names and is_given(parameter)
    ]


def refuse_unread(*names: str, reason: str) -> None:
    """Refuse parameters of the command that runs where they were given: nothing would read them.

    Raises:
        click.UsageError: `reason`, and which options to leave out.
    """
    if unread := given(*names):
        raise click.UsageError(f"{reason}: leave out {', '.join(unread)}.")
