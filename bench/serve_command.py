"""`alexnet-bench serve`: the options."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any, cast, get_args

import click

from alexnet import options
from alexnet.console import Command
from bench.lists import ListOf
from bench.output import Output, finish, output_options
from bench.scenarios import CLIENTS, Scenario

_POSITIVE = click.FloatRange(min=0, min_open=True)


class Milliseconds(click.ParamType[float]):
    """`200ms`, `0.2s`, or `200`."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number of milliseconds."""
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|)", str(value))
        if match is None or float(match[1]) == 0:
            self.fail(f"{value!r} is no time such as 200ms or 2s.", param, ctx)
        return float(match[1]) * (1000 if match[2] == "s" else 1)


class Header(click.ParamType[tuple[str, str]]):
    """`Name: value`."""

    name = "header"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Name and value."""
        name, colon, content = str(value).partition(":")
        if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            self.fail("a header is 'Name: value'.", param, ctx)  # the value may be a key
        return name, content.strip()


@click.command(cls=Command)
@click.argument("url", required=False)
@click.option(
    "--serve",
    "model",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="MODEL",
    help="Start this project's service with this model, and end it in the end. ALEXNET_... "
    "variables are its settings.",
)
@click.option(
    "--peers",
    is_flag=True,
    help="With --serve of an .onnx file: set the service beside the backend alone and plain "
    "FastAPI and BentoML services with the same file, in turns; --concurrency requests at once.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="With --peers: turns of each, which last --duration.",
)
@click.option(
    "--start",
    metavar="COMMAND",
    help="Start another service so; {port} in it and in URL is a free port.",
)
@click.option(
    "--scenario",
    type=click.Choice(get_args(Scenario)),
    default="server",
    show_default=True,
    help="server: Poisson arrivals, whatever the service does. The others wait for answers: "
    "single-stream for each, multi-stream sends several at once and waits for all, offline keeps "
    "several under way.",
)
@click.option(
    "--rate",
    "rates",
    type=ListOf(_POSITIVE),
    metavar="R,...",
    help="server: requests per second, one load after the other.",
)
@click.option("--ramp", is_flag=True, help="server: find the highest load that holds --bound.")
@click.option(
    "--bound",
    type=Milliseconds(),
    default="200ms",
    show_default=True,
    help="With --ramp: p99 may be so long, and every request must be answered.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    show_default=f"{CLIENTS['multi-stream']} in multi-stream, {CLIENTS['offline']} offline",
    help="multi-stream and offline: requests under way at once.",
)
@click.option(
    "--duration", type=_POSITIVE, default=10.0, show_default=True, help="Seconds of each load."
)
@click.option(
    "--warmup",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Requests before, one after the other, that are not counted.",
)
@click.option(
    "--timeout", type=_POSITIVE, default=10.0, show_default=True, help="Seconds for an answer."
)
@click.option(
    "--connections",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Requests that can be under way at once.",
)
@click.option(
    "--header",
    "headers",
    type=Header(),
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Send this header, a key for instance; may be given again.",
)
@click.option(
    "--field",
    show_default="the body is the photo",
    help="Send a form with the photo in this field.",
)
@click.option(
    "--ready",
    "ready_path",
    default="/readyz",
    show_default=True,
    metavar="PATH",
    help="A started service is ready when GET PATH is answered below 500.",
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    show_default="scikit-learn's two photographs, or a made photo without it",
    help="A photo, or a folder from which up to eight are taken.",
)
@output_options
def serve(
    url: str | None,
    model: Path | None,
    peers: bool,
    rounds: int,
    start: str | None,
    scenario: str,
    rates: list[float] | None,
    ramp: bool,
    bound: float,
    concurrency: int | None,
    duration: float,
    warmup: int,
    timeout: float,
    connections: int,
    headers: tuple[tuple[str, str], ...],
    field: str | None,
    ready_path: str,
    photos: Path | None,
    output: Output,
) -> None:
    """Load a service over HTTP: how fast it answers, and how much it holds.

    URL is any service that takes a POST of a photo; a URL without a path gets /v1/classify. In the
    scenario server, latency counts from the moment at which a request was due, so that a service
    that stalls shows it. A load is held when every request was answered and 99 of 100 within
    --bound; --ramp doubles the load until that fails and then narrows it down to 5 %.

    The verdict is INVALID where this program itself was late, others took the machine, fewer than
    100 answers were measured, or none was good. Of a service that is started here, processor time
    and memory are told, and by how much memory grew per minute in the later half of each load.
    stdout ends with one line of JSON.

    \b
    Examples:
      alexnet-bench serve --serve model.onnx --ramp --bound 200ms
      alexnet-bench serve --serve model.onnx --rate 20 --duration 600
      alexnet-bench serve http://127.0.0.1:3000 --rate 5,10,20 --header 'X-API-Key: k'
      alexnet-bench serve --serve model.onnx --peers --duration 5
      alexnet-bench serve http://127.0.0.1:{port}/predict --field file \\
        --start 'uvicorn app:app --port {port}' --scenario offline
    """
    # Terminated, it ends the services that it has started, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if peers:
        if model is None or url is not None or start is not None or rates is not None or ramp:
            raise click.UsageError("--peers goes with --serve, and without a load of its own.")
        options.refuse_unread(
            *("scenario", "bound", "warmup", "connections", "headers", "field", "ready_path"),
            reason="--peers sends each service the same requests, --concurrency at once",
        )
        from bench.service_peers import Plan as PeersPlan
        from bench.service_peers import service_peers
        from bench.service_peers_report import print_service_peers

        beside = PeersPlan(
            model=model,
            clients=concurrency or CLIENTS["offline"],
            seconds=duration,
            rounds=rounds,
            timeout=timeout,
            photos=photos,
        )
        finish(service_peers(beside), output, table=print_service_peers)
        return
    options.refuse_unread("rounds", reason="There are turns with --peers alone")
    _check(url, model, start, scenario=scenario, rates=rates, ramp=ramp, concurrency=concurrency)
    from bench.serve import Plan
    from bench.serve import serve as load
    from bench.serve_report import print_serve

    result = load(
        Plan(
            url=url,
            start=start,
            model=model,
            scenario=cast(Scenario, scenario),
            rates=list(dict.fromkeys(rates or ())),
            bound_ms=bound,
            seconds=duration,
            clients=concurrency,
            warmup=warmup,
            timeout=timeout,
            connections=connections,
            headers=headers,
            field=field,
            ready_path=ready_path,
            photos=photos,
        )
    )
    finish(result, output, table=print_serve)


def _check(
    url: str | None,
    model: Path | None,
    start: str | None,
    *,
    scenario: str,
    rates: list[float] | None,
    ramp: bool,
    concurrency: int | None,
) -> None:
    """Options that can't go together."""
    if model is not None and (start is not None or url is not None):
        raise click.UsageError("--serve goes without URL and --start: its address is its own.")
    if url is None and model is None and start is None:
        raise click.UsageError("Name the URL of a service, or give --serve or --start.")
    if model is None and start is None:
        options.refuse_unread("ready_path", reason="A service that runs already is not waited for")
    if scenario == "server" and (rates is not None) == ramp:
        raise click.UsageError("The scenario server needs one of --rate and --ramp.")
    if scenario != "server" and (rates is not None or ramp):
        raise click.UsageError("--rate and --ramp are for the scenario server.")
    if scenario in ("server", "single-stream") and concurrency is not None:
        raise click.UsageError("--concurrency is for the scenarios multi-stream and offline.")
    if not ramp:
        options.refuse_unread("bound", reason="Only --ramp looks for the load that holds it")
