"""Outputs of every command: what is named is written, and nothing else is replaced or left."""

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from alexnet.checkpoint import load_checkpoint
from alexnet.console import Command
from alexnet.options import OutputFile, OutputFolder
from bench.output import finish, output_options
from tests.bench.results import result as result_of
from tests.bench.results import row
from tests.programs import commands

ROOT = Path(__file__).parent.parent
COMMANDS = commands()
# Names of parameters that are outputs wherever they are no flags.
NAMES = {"-o", "--output", "--json", "--csv", "--plot", "--out", "--docs", "--timing-cache"}
# A file or a folder with parts of its own (serve/target.py), and a text of commands to be printed.
OTHERS = {("alexnet-label", "output"), ("alexnet-train imagenet-plan", "out")}


def outputs(kind):
    """Parameters of a kind: (command, parameter)."""
    return [
        pytest.param(name, parameter, id=f"{name} {parameter.name}")
        for name, command in COMMANDS.items()
        for parameter in command.params
        if isinstance(parameter.type, kind)
    ]


def run(name, *words):
    command = measured if name == "measured" else COMMANDS[name]
    return CliRunner().invoke(command, list(map(os.fspath, words)), prog_name=name)


def option(parameter):
    return max(parameter.opts, key=len)


def test_every_output_is_of_a_type_that_is_checked_before_the_work():
    for name, command in COMMANDS.items():
        for parameter in command.params:
            is_output = NAMES & {*parameter.opts} and not getattr(parameter, "is_flag", False)
            if is_output and (name, parameter.name) not in OTHERS:
                assert isinstance(parameter.type, OutputFile | OutputFolder), (name, parameter.opts)


@pytest.mark.parametrize(("name", "parameter"), outputs(OutputFolder))
def test_a_folder_is_not_written_to_a_device_or_a_pipe(name, parameter, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/null", "/dev/stdout", tmp_path / "fifo"):
        words = [path] if isinstance(parameter, click.Argument) else [option(parameter), path]
        # `prepare SRC DST`: the first word is the source.
        result = run(name, *(["digits"] if isinstance(parameter, click.Argument) else []), *words)
        assert result.exit_code == 2, result.output
        assert f"{path} is a device or a pipe" in result.stderr
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["fifo"]


@pytest.mark.parametrize(("name", "parameter"), outputs(OutputFile))
def test_a_file_that_cannot_be_written_is_refused_with_a_sentence(name, parameter, tmp_path):
    (tmp_path / "file").write_text("old")
    for path, reason in (
        (tmp_path, "is a folder: name a file"),
        (tmp_path / "file" / "x", "file is no folder"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        result = run(name, option(parameter), path)
        assert result.exit_code == 2, result.output
        assert reason in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_an_engine_which_is_two_files_is_not_written_to_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "x.engine")
    for words in (["-o", tmp_path / "x.engine"], ["--timing-cache", tmp_path / "x.engine"]):
        result = run("alexnet-export tensorrt", *words)
        assert result.exit_code == 2
        assert "is a device or a pipe: name a file" in result.stderr
    assert stat.S_ISFIFO((tmp_path / "x.engine").stat().st_mode)


@pytest.fixture(scope="module")
def small(tmp_path_factory, model_path):
    """A model in two files, and photos."""
    folder = tmp_path_factory.mktemp("small")
    result = run("alexnet-export onnx", model_path, "-o", folder / "model.onnx")
    assert result.exit_code == 0, result.output
    return folder


@click.command(cls=Command)
@output_options
def measured(output):
    """What each command of alexnet-bench does with its result."""
    finish(result_of(row("a", [10.0, 11.0])), output, table=lambda _: None)


# Commands that take a second at most, and the ending that their output must have.
WRITERS = {
    "alexnet-train init": (".safetensors", ("--preset", "mini", "-o")),
    "alexnet-export onnx": (".onnx", ("-o",)),
    "alexnet-export verify": (".json", ("MODEL", "GRAPH", "--count", "1", "--json")),
    "measured json": (".json", ("--json",)),
    "measured csv": (".csv", ("--csv",)),
    "measured plot": (".svg", ("--plot",)),
}


@pytest.fixture(params=WRITERS)
def write(request, small, model_path):
    """A function that runs a command with an output, and the output's ending."""
    ending, words = WRITERS[request.param]
    name = "measured" if request.param.startswith("measured ") else request.param
    files = {"MODEL": model_path, "GRAPH": small / "model.onnx"}

    def run_to(path):
        return run(name, *[files.get(word, word) for word in words], path)

    return run_to, ending


def test_through_a_link_the_target_is_written_with_the_mode_that_it_had(write, tmp_path):
    run_to, ending = write
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "x"
    target.write_text("old")
    target.chmod(0o640)
    (tmp_path / f"link{ending}").symlink_to(target)
    result = run_to(tmp_path / f"link{ending}")
    assert result.exit_code == 0, result.output
    assert (tmp_path / f"link{ending}").readlink() == target
    assert target.read_bytes() != b"old"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert [path.name for path in target.parent.iterdir()] == ["x"]


def test_a_link_to_a_fifo_gets_the_bytes_of_the_file(write, tmp_path):
    run_to, ending = write
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / f"link{ending}").symlink_to("fifo")
    read = []
    thread = threading.Thread(
        target=lambda: read.append((tmp_path / "fifo").read_bytes()), daemon=True
    )
    thread.start()
    result = run_to(tmp_path / f"link{ending}")
    thread.join(10)
    assert result.exit_code == 0, result.output
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    assert len(read) == 1
    (tmp_path / f"x{ending}").write_bytes(read[0])
    if ending == ".safetensors":
        assert load_checkpoint(tmp_path / f"x{ending}").config.preset == "mini"
    elif ending == ".json":
        json.loads(read[0])
    elif ending == ".svg":
        assert read[0].rstrip().endswith(b"</svg>")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fifo",
        f"link{ending}",
        f"x{ending}",
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has the full device")
def test_a_full_disk_is_a_sentence_and_exit_code_1(write, tmp_path):
    run_to, ending = write
    (tmp_path / f"link{ending}").symlink_to("/dev/full")
    result = run_to(tmp_path / f"link{ending}")
    assert result.exit_code == 1
    assert "No space left on device: " in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_the_line_of_json_is_on_stdout_though_the_file_could_not_be_written(small, model_path):
    words = (model_path, small / "model.onnx", "--count", "1", "--json", "/dev/full")
    result = run("alexnet-export verify", *words)
    assert result.exit_code == 1
    assert json.loads(result.stdout.splitlines()[-1])["within_tolerance"] is True
    result = run("measured", "--json", "/dev/full")
    assert result.exit_code == 1
    assert json.loads(result.stdout.splitlines()[-1])["benchmark"] == "latency"


def script(name, *words):
    return subprocess.run(
        [sys.executable, f"scripts/{name}.py", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_script_writes_to_stdout_and_says_in_a_sentence_what_it_cannot_write(tmp_path):
    done = script("shared_views_figure", "-o", "/dev/stdout")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("</svg>")
    done = script("shared_views_figure", "-o", "/dev/full")
    assert done.returncode == 1
    assert done.stderr == "shared_views_figure: No space left on device: /dev/full.\n"
