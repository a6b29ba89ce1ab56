import io
import os
import re

import click
from click.testing import CliRunner

from alexnet.console import Commands, print_table, progress
from alexnet.errors import AlexNetError
from tests.commands import on_terminal


@click.group(cls=Commands)
def main():
    pass


@main.command()
def mend():
    raise AlexNetError("The photo is torn: take another.")


@main.command()
def full():
    raise OSError(28, "No space left on device", "runs/x")


@main.command()
def stopped():
    raise KeyboardInterrupt


@main.command()
def broken():
    raise KeyError("a defect of ours")


def test_an_error_for_people_is_one_sentence_and_exit_code_1():
    result = CliRunner().invoke(main, ["mend"], prog_name="alexnet-x")
    assert (result.exit_code, result.output) == (1, "alexnet-x: The photo is torn: take another.\n")


def test_a_full_disk_is_one_sentence_too():
    result = CliRunner().invoke(main, ["full"], prog_name="alexnet-x")
    assert (result.exit_code, result.output) == (1, "alexnet-x: No space left on device: runs/x.\n")


def test_a_defect_keeps_its_traceback():
    assert isinstance(CliRunner().invoke(main, ["broken"]).exception, KeyError)


def test_ctrl_c_is_said_and_exits_as_a_shell_expects():
    result = CliRunner().invoke(main, ["stopped"], prog_name="alexnet-x")
    assert (result.exit_code, result.output) == (130, "alexnet-x: interrupted.\n")


def test_a_wrong_option_exits_with_2():
    assert CliRunner().invoke(main, ["mend", "--no-such-option"]).exit_code == 2


def test_a_table_off_the_terminal_is_plain_markdown_with_numbers_to_the_right():
    out = io.StringIO()
    print_table(
        "Errors", ("class", "top-1 %"), [("goldfish", "5.00"), ("a [b] c", "12.50")], file=out
    )
    assert out.getvalue().splitlines() == [
        "Errors",
        "| class    | top-1 % |",
        "|----------|---------|",
        "| goldfish |    5.00 |",
        "| a [b] c  |   12.50 |",
    ]


def test_progress_is_silent_off_the_terminal(capfd):
    with progress("work", total=3, unit="photos") as bar:
        bar.advance(3)
        bar.note("done")
    assert capfd.readouterr() == ("", "")


def drawn(code, folder):
    """What a program draws on a terminal of 120 columns."""
    (folder / "drawing.py").write_text(code)
    wide = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    return on_terminal("drawing", cwd=folder, env=wide)


def test_progress_is_drawn_on_a_terminal(tmp_path):
    code = (
        "from alexnet.console import progress\n"
        "with progress('decode', total=4, unit='photos') as bar:\n"
        "    bar.advance(4); bar.note('loss 1.5')\n"
    )
    shown = drawn(code, tmp_path)
    assert "decode" in shown
    assert "4/4" in shown
    assert "loss 1.5" in shown


def test_time_left_is_told_from_when_the_end_is_known(tmp_path):
    """Before that it is the time gone, a second at most; a million million take hours."""
    code = (
        "from alexnet.console import progress\n"
        "with progress('label', total=None, unit='photos') as bar:\n"
        "    bar.advance(); bar.advance(); bar._bar.refresh()\n"
        "    bar.expect(10**12); bar.advance(); bar.advance()\n"
    )
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", drawn(code, tmp_path))
    assert re.search(r" 2/\?[^\n]* 0:00:0\d", shown)
    assert re.search(r" 4/10{12}[^\n]* [1-9]\d*:\d\d:\d\d", shown)
