"""`alexnet-serve`: `bentoml serve` with the settings of serve/settings.py as options."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from alexnet.backends.openvino_cache import VARIABLE as CACHE
from alexnet.console import Command
from serve.home import VARIABLE as HOME
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
    return str(value) if isinstance(value, Path) else text


@click.command(cls=Command, help=HELP)
@click.version_option(package_name="alexnet")
@_options
def main(**options: str | None) -> None:
    """See `HELP`."""
    given = {variable(name): text for name, text in options.items() if text is not None}
    os.environ.update(given)
    settings = read_settings()
    for path in ("model", "keys"):
        if getattr(settings, path) is not None:
            os.environ[variable(path)] = str(getattr(settings, path))
    off_by_default()
    choose_home()
    for folder in (CACHE, HOME):  # they are meant from here
        if os.environ.get(folder, "").strip() not in ("", "off"):
            os.environ[folder] = str(Path(os.environ[folder].strip()).absolute())
    # Python and BentoML look for code in the folder that they start in, and whatever lies in the
    # one where somebody calls this command is none of ours.
    os.chdir(Path(__file__).parents[1])
    command = [sys.executable, "-m", "bentoml", "serve", "serve.service:AlexNet"]
    address = ["--host", settings.host, "--port", str(settings.port)]
    os.execv(sys.executable, [*command, *address])


if __name__ == "__main__":
    main(prog_name="alexnet-serve")
