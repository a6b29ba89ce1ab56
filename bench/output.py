"""What every benchmark does with its result: tables, files, a comparison, and the exit code.

A result is a dict of JSON values: `benchmark` (the subcommand's name), `reasons` (sentences why the
numbers should not be relied on; none where they can be), `verdict` (VALID or INVALID), `machine`
(`bench.conditions.conditions`) and `results`, a list of rows. A row has a `name` of its own,
`precision_note` where the CPU has no instructions for its model's precision, and where they are
known `latency_ms` (`bench.statistics.Summary`), `samples_ms` (the times behind it,
one for each round), `infer_samples_per_sec` and timm's other columns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from alexnet import options
from alexnet.errors import AlexNetError
from alexnet.figures import check_figure_file
from alexnet.files import write_text
from alexnet.json_text import to_json

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where a result goes besides the terminal, and when the command fails."""

    json_file: Path | None = None
    csv_file: Path | None = None
    plot_files: tuple[Path, ...] = ()
    compare: Path | None = None
    """A result of before, as `--json` wrote it."""
    threshold: float = 10.0
    """Percent of the time of before by which a row may be slower."""
    strict: bool = False
    """Whether an INVALID measurement fails."""

    def check(self) -> None:
        """Find out before the measurement, rather than after it, that it could not be used.

        Raises:
            AlexNetError: a plot of an unknown kind or without matplotlib, or nothing to compare.
        """
        for path in self.plot_files:
            check_figure_file(path)
        if self.compare is not None:
            from bench.compare import read_result

            read_result(self.compare)


def output_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a click command the options of every benchmark; it gets them as `output`."""

    @click.option(
        "--json",
        "json_file",
        type=options.OutputFile(),
        help="Write the result to this file, with every single time in it.",
    )
    @click.option(
        "--csv",
        "csv_file",
        type=options.OutputFile(),
        help="Write the rows to this file; the columns that timm has, too, by its names.",
    )
    @click.option(
        "--plot",
        "plot_files",
        type=options.OutputFile(),
        multiple=True,
        metavar="FILE.png|FILE.svg",
        help="Draw the result; may be given again.",
    )
    @click.option(
        "--compare",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE.json",
        help="Compare with a result of before, row by row, with 95% confidence intervals.",
    )
    @click.option(
        "--threshold",
        type=click.FloatRange(min=0),
        default=Output.threshold,
        show_default=True,
        help="With --compare: exit with 1 where a row is slower by more than this many percent, "
        "and its whole interval is; a row without an interval, by its value.",
    )
    @click.option("--strict", is_flag=True, help="Exit with 1 where the verdict is INVALID.")
    @functools.wraps(command)
    def with_output(
        *args: Any,
        json_file: Path | None,
        csv_file: Path | None,
        plot_files: tuple[Path, ...],
        compare: Path | None,
        threshold: float,
        strict: bool,
        **kwargs: Any,
    ) -> R:
        output = Output(
            json_file=json_file,
            csv_file=csv_file,
            plot_files=plot_files,
            compare=compare,
            threshold=threshold,
            strict=strict,
        )
        output.check()
        return command(*args, output=output, **kwargs)

    return with_output


def finish(
    result: dict[str, Any], output: Output, *, table: Callable[[dict[str, Any]], None]
) -> None:
    """Print and write a result, and end the command as its options want.

    stdout gets `table(result)`, the machine, the verdict with its reasons, a comparison where one
    was asked for, and last the result as one line of JSON, without `samples_ms`: the file has them.

    Raises:
        AlexNetError: a row is slower than the threshold allows, the measurement is INVALID and must
            not be, or it holds nothing that `--plot` could draw.
        OSError: a file can't be written.
    """
    from bench.conditions import one_line

    result = rounded(result)
    table(result)
    for note in dict.fromkeys(row.get("precision_note") for row in result["results"]):
        if note is not None:
            named = [row["name"] for row in result["results"] if row.get("precision_note") == note]
            click.echo(f"{', '.join(named)}: {note}")
    click.echo(f"Machine: {one_line(result['machine'])}")
    click.echo(result["verdict"] + "".join(f"\n  {reason}" for reason in result["reasons"]))
    slower: list[str] = []
    if output.compare is not None:
        from bench.compare import compare, print_comparison, read_result

        comparison = compare(read_result(output.compare), result, threshold=output.threshold)
        print_comparison(comparison)
        slower = comparison.slower
    click.echo(to_json(_without_samples(result)))  # first: the disk may be full
    _write(result, output)
    _draw(result, output)
    if slower:
        raise AlexNetError(
            f"Slower than in {output.compare} by more than {output.threshold:g}%: "
            f"{'; '.join(slower)}."
        )
    if output.strict and result["reasons"]:
        raise AlexNetError(f"The measurement is {result['verdict']}. {' '.join(result['reasons'])}")


def rounded(value: Any, *, digits: int = 6) -> Any:
    """`value` with every float in it rounded to `digits` significant digits; samples to 4."""
    if isinstance(value, dict):
        return {
            key: rounded(item, digits=4 if key == "samples_ms" else digits)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [rounded(item, digits=digits) for item in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def _write(result: dict[str, Any], output: Output) -> None:
    if output.json_file is not None:
        write_text(output.json_file, to_json(result) + "\n")
    if output.csv_file is not None:
        from bench.csv_rows import csv_text

        write_text(output.csv_file, csv_text(result["results"]))


def _draw(result: dict[str, Any], output: Output) -> None:
    """Last of all: where there is nothing to draw, the rest is there all the same."""
    if output.plot_files:
        from bench.plot import draw

        for path in output.plot_files:
            draw(result, path)


def _without_samples(result: dict[str, Any]) -> dict[str, Any]:
    rows = [
        {key: value for key, value in row.items() if key != "samples_ms"}
        for row in result["results"]
    ]
    return result | {"results": rows}
