"""What the commands show people: one progress bar, one table, one way to end with an error.

Imported by the rooms only; the core does not need click or rich.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import click
import rich.box
import rich.markup
import rich.progress
import rich.table
import rich.text
from rich.console import Console

from alexnet.errors import AlexNetError

# What a shell reports for a program that Ctrl-C ended: 128 and the signal's number.
_INTERRUPTED = 130


class Progress:
    """A running bar; `advance` moves it, `expect` its end, `note` the words behind it."""

    def __init__(self, bar: rich.progress.Progress | None, task: rich.progress.TaskID | None):
        self._bar = bar
        self._task = task

    def advance(self, count: int = 1) -> None:
        """`count` more units are done."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, count)

    def expect(self, total: int) -> None:
        """There will be `total` units, as far as is known by now."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=total)

    def note(self, text: str) -> None:
        """Show `text` (a loss, say) at the end of the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, note=text)


class _Rate(rich.progress.ProgressColumn):
    def __init__(self, unit: str):
        super().__init__()
        self._unit = unit

    def render(self, task: rich.progress.Task) -> str:
        speed = task.finished_speed or task.speed
        return "" if speed is None else f"{speed:,.1f} {self._unit}/s"


class _Time(rich.progress.ProgressColumn):
    """Time left; where the end is not known, or not yet, time gone."""

    max_refresh = 0.5

    def __init__(self) -> None:
        super().__init__()
        self._left = rich.progress.TimeRemainingColumn()
        self._gone = rich.progress.TimeElapsedColumn()

    def render(self, task: rich.progress.Task) -> rich.text.Text:
        return (self._left if task.total else self._gone).render(task)


@contextmanager
def progress(
    description: str, *, total: int | None, unit: str, shown: bool = True
) -> Iterator[Progress]:
    """A progress bar with count, rate (`unit` per second) and time left, on stderr.

    Drawn only on a terminal: a log file gets nothing. `total=None` when the end is unknown, or is
    told later by `Progress.expect`;
    `unit=""` for one long step, which shows neither count nor rate. `shown=False`: of several
    processes on one terminal, another one draws it.
    """
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield Progress(None, None)
        return
    columns: list[rich.progress.ProgressColumn] = [
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(bar_width=24),
    ]
    if unit:
        columns += [rich.progress.MofNCompleteColumn(), _Rate(unit)]
    columns += [_Time(), rich.progress.TextColumn("{task.fields[note]}")]
    with rich.progress.Progress(*columns, console=console, transient=True) as bar:
        yield Progress(bar, bar.add_task(description, total=total, note=""))


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    file: IO[str] | None = None,
) -> None:
    """Print a table: numbers to the right, text to the left, never cut to the window's width.

    Cells are printed by `str`; a number or a text that reads as one makes its column numeric.
    """
    table = rich.table.Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(_is_number(row[index]) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*[rich.markup.escape(str(cell)) for cell in row])
    out = file or sys.stdout
    console = Console(file=out, soft_wrap=True)
    if console.is_terminal:
        console.print(table)
        return
    table.box = rich.box.MARKDOWN
    plain = Console(file=io.StringIO(), width=10_000, no_color=True)
    with plain.capture() as captured:
        plain.print(table)
    # The box draws blank lines where other boxes have their frame.
    lines = [line.rstrip() for line in captured.get().splitlines()]
    out.write("".join(f"{line}\n" for line in lines if line))


def log(message: str) -> None:
    """One line for people on stderr, so that stdout stays the result."""
    click.echo(message, err=True)


def _is_number(cell: object) -> bool:
    text = str(cell).strip().removesuffix("%").removesuffix("x").strip().replace(",", "")
    try:
        float(text)
    except ValueError:
        return text in ("", "-")
    return True


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}."
    return str(error)


def _say(command: str, error: Exception) -> None:
    if os.environ.get("ALEXNET_TRACEBACK"):
        traceback.print_exception(error)
    click.echo(f"{command}: {_sentence(error)}", err=True)


@contextmanager
def sentences(program: str) -> Iterator[None]:
    """End a script, which has no `Command`, as one ends: with the sentence and exit code 1."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (AlexNetError, OSError) as error:
        _say(program, error)
        sys.exit(1)


class Command(click.Command):
    """A click command that ends an `AlexNetError` or `OSError` with its sentence and exit code 1.

    Ctrl-C ends it with exit code 130. `ALEXNET_TRACEBACK=1` in the environment shows the traceback
    of an error, too.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors for people become one sentence."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (AlexNetError, OSError) as error:
            _say(ctx.find_root().info_name or "alexnet", error)
            return ctx.exit(1)
        except KeyboardInterrupt:
            click.echo(f"{ctx.find_root().info_name}: interrupted.", err=True)
            return ctx.exit(_INTERRUPTED)


class Commands(click.Group):
    """A group of `Command`s."""

    command_class = Command
    group_class = type
