"""Options of the commands that time models in turns: which variants, and for how long."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from alexnet import options
from alexnet.backends import BACKENDS
from alexnet.config import Views
from bench.lists import ListOf
from bench.scenarios import Scenario
from bench.sessions import COMPILED

R = TypeVar("R")

_COMMANDS: dict[Scenario, str] = {
    "single-stream": "alexnet-bench latency",
    "multi-stream": "alexnet-bench latency",
    "server": "alexnet-bench serve",
    "offline": "alexnet-bench throughput",
}


def scenario_option(*own: Scenario, help: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """`--scenario` for a command that has `own`; another one's name says which command that is."""

    def check(_: click.Context, __: click.Parameter, value: Scenario | None) -> Scenario | None:
        if value is not None and value not in own:
            raise click.BadParameter(f"the scenario {value} is `{_COMMANDS[value]}`.")
        return value

    return click.option("--scenario", type=click.Choice(list(_COMMANDS)), callback=check, help=help)


def variant_options(*, batch: str, photos: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a click command ARTIFACTS and lists of what to combine.

    It gets `lists`, the arguments of a `bench.variants.Choices` but for its batches, and `batch`, a
    list or None.

    Args:
        batch: the help text of `--batch`.
        photos: which of a folder's photos `--photos` takes.
    """

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @click.argument("artifacts", nargs=-1, type=click.Path(path_type=Path))
        @click.option(
            "--backend",
            type=ListOf(click.Choice(["auto", *BACKENDS, COMPILED])),
            metavar="NAME,...",
            show_default="auto: by each file's ending and target",
            help=f"Backends ({', '.join([*BACKENDS, COMPILED])}); each runs the files of its kind.",
        )
        @click.option("--batch", type=ListOf(click.IntRange(min=1)), metavar="N,...", help=batch)
        @click.option(
            "--views",
            type=ListOf(click.Choice(get_args(Views))),
            metavar="VIEWS,...",
            show_default="the model's own; a checkpoint's is ten",
            help="Average ten views of each photo, take the centre alone, or average all places "
            "of the whole photo: ten, centre, dense.",
        )
        @click.option(
            "--threads",
            type=ListOf(click.IntRange(min=1)),
            metavar="N,...",
            show_default="the backend's own choice",
            help="CPU threads that run a model.",
        )
        @options.device
        @click.option(
            "--baseline/--no-baseline",
            default=True,
            show_default=True,
            help="Measure PyTorch eager too, and print how many times as fast the others are.",
        )
        @click.option(
            "--photos",
            type=click.Path(path_type=Path),
            show_default="scikit-learn's two photographs, or a made photo without it",
            help=f"A photo, or a folder from which {photos} are taken.",
        )
        @functools.wraps(command)
        def with_choices(
            *args: Any,
            artifacts: tuple[Path, ...],
            backend: list[str] | None,
            batch: list[int] | None,
            views: list[Views] | None,
            threads: list[int] | None,
            device: str,
            baseline: bool,
            **kwargs: Any,
        ) -> R:
            lists: dict[str, Any] = {
                "artifacts": artifacts,
                "backends": backend or ["auto"],
                "views": views or [None],
                "threads": threads or [None],
                "device": device,
                "baseline": baseline,
            }
            return command(*args, lists=lists, batch=batch, **kwargs)

        return with_choices

    return decorate


def sampling_options(
    *, rounds: str, default: str
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a click command the options for how long to measure.

    It gets `sampling`, the arguments of a `bench.sampling.Sampling` but for the default of `count`
    and `duration`, which are both None where the command line has neither.

    Args:
        rounds: what is counted.
        default: without `--count` and `--duration`, for people.
    """

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @click.option("--count", type=click.IntRange(min=1), help=f"Measure this many {rounds}.")
        @click.option(
            "--duration",
            type=click.FloatRange(min=0, min_open=True),
            help=f"Measure for this many seconds.  [default: {default}]",
        )
        @click.option(
            "--warmup",
            type=click.IntRange(min=0),
            default=3 if rounds == "rounds" else 1,
            show_default=True,
            help=f"{rounds.capitalize()} before the measurement that are not counted.",
        )
        @click.option(
            "--pause",
            type=click.FloatRange(min=0),
            default=10.0,
            show_default=True,
            help="Milliseconds before each call. Threads of the one before spin for a while, and "
            "without a pause this call would pay for them.",
        )
        @click.option(
            "--isolate/--together",
            default=True,
            show_default=True,
            help="A process for each model, backend and batch size, so that each takes the time "
            "that it takes alone; or one process for all, which saves memory and start-up, and "
            "where memory and threads of one runtime change the times of another.",
        )
        @functools.wraps(command)
        def with_sampling(
            *args: Any,
            count: int | None,
            duration: float | None,
            warmup: int,
            pause: float,
            isolate: bool,
            **kwargs: Any,
        ) -> R:
            if count is not None and duration is not None:
                raise click.UsageError("Give --count or --duration, not both.")
            sampling = {
                "count": count,
                "duration": duration,
                "warmup": warmup,
                "pause": pause / 1000,
                "isolate": isolate,
            }
            return command(*args, sampling=sampling, **kwargs)

        return with_sampling

    return decorate
