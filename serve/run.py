"""`alexnet-serve`: `bentoml serve` with the settings of serve/settings.py as options."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click

from alexnet.console import Command
from serve.home import choose_home
from serve.settings import SETTINGS, Settings, read_settings, variable
from serve.telemetry import off_by_default

HELP = """Answer photos over HTTP: POST /v1/classify, GET /v1/model.

Options left out are taken from the environment: --max-body is ALEXNET_MAX_BODY, and so
on. `curl -F image=@photo.jpg http://127.0.0.1:3000/v1/classify` asks the service.

SIGTERM and Ctrl-C let it answer what it has accepted.
"""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each setting."""
    for name in reversed(SETTINGS):
        default = getattr(Settings, name)
        command = click.option(
            f"--{name.replace('_', '-')}",
            name,
            metavar="TEXT" if default is None or isinstance(default, str) else "NUMBER",
            help=SETTINGS[name].help + ("" if default is None else f"  [default: {default}]"),
            callback=_check,
        )(command)
    return command


def _check(_: click.Context, option: click.Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        value = SETTINGS[str(option.name)].parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}; it must be {error}.") from error
    # The workers may start in another folder.
    return str(value) if option.name == "model" else text


@click.command(cls=Command, help=HELP)
@click.version_option(package_name="alexnet")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port."
)
@_options
def main(host: str, port: int, **options: str | None) -> None:
    """See `HELP`."""
    given = {variable(name): text for name, text in options.items() if text is not None}
    os.environ.update(given)
    read_settings()
    off_by_default()
    choose_home()
    command = [sys.executable, "-m", "bentoml", "serve", "serve.service:AlexNet"]
    os.execv(sys.executable, [*command, "--host", host, "--port", str(port)])


if __name__ == "__main__":
    main(prog_name="alexnet-serve")
