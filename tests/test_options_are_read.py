"""No option does nothing: each is read, or refused with a sentence where nothing would read it."""

import dataclasses

import click
import pytest
from click.testing import CliRunner

from alexnet import options
from tests.option_reading import unread
from tests.programs import commands

COMMANDS = commands()
# Of the processes that torchrun starts, the first writes for all.
OF_THE_FIRST = {
    ("alexnet-train evaluate", "json_file"): "not (mesh.first)",
    ("alexnet-train speed", "json_file"): "not (mesh.first)",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_read_or_refused_whatever_the_others_are(name):
    found = unread(COMMANDS[name])
    for option, condition in list(found.items()):
        if condition.endswith(OF_THE_FIRST.get((name, option), "always")):
            del found[option]
    assert found == {}


# What the search finds, in commands made for it


@dataclasses.dataclass
class Plan:
    seed: int = 0
    a_field_that_nobody_reads: int = 0


def _check(planned):
    if planned:
        options.refuse_unread("c", reason="It is planned")


def made(function):
    """A command with the options a, b and c."""
    for name in "abc":
        function = click.option(f"--{name}")(function)
    return click.command()(function)


def test_an_option_that_is_never_read_is_found():
    @made
    def command(a, b, c):
        print(a, b)

    assert unread(command) == {"c": "always"}


def test_an_option_that_one_path_does_not_read_is_found_with_what_leads_there():
    @made
    def command(a, b, c):
        if a:
            print(b)
            return
        print(b, c)

    assert unread(command) == {"c": "a"}


def test_an_option_that_is_refused_where_it_is_not_read_is_not_found():
    @made
    def command(a, b, c):
        if not a:
            options.refuse_unread("b", reason="There is no a")
        _check(a)
        if a:
            print(b)
        if not a:
            print(c)

    assert unread(command) == {}


def test_an_option_that_ends_in_a_field_that_nobody_reads_is_found():
    @made
    def command(a, b, c):
        print(a, Plan(seed=b, a_field_that_nobody_reads=c))

    assert unread(command) == {"c": "always"}


def test_options_that_are_handed_on_together_are_looked_for_where_they_went():
    @made
    def command(**values):
        _reads_a_and_b(**values)

    assert unread(command) == {"c": "always"}


def _reads_a_and_b(a, b, **others):
    print(a, b)


# Options that are of no use beside others

SERVE = ("alexnet-bench serve", "http://127.0.0.1:9", "--rate", "1")
PEERS = ("alexnet-bench serve", "--serve", "model.onnx", "--peers")
WITH_PEERS = "--peers sends each service the same requests, --concurrency at once: leave out"
REFUSED = [
    (("alexnet-bench throughput", "--scenario", "offline"), "No such option"),
    ((*SERVE, "--rounds", "3"), "There are turns with --peers alone: leave out --rounds."),
    ((*SERVE, "--bound", "1s"), "Only --ramp looks for the load that holds it: leave out --bound."),
    ((*SERVE, "--ready", "/"), "A service that runs already is not waited for: leave out --ready."),
    *(
        ((*PEERS, option, value), f"{WITH_PEERS} {option}.")
        for option, value in (
            *(("--scenario", "offline"), ("--bound", "1s"), ("--warmup", "3")),
            *(("--connections", "3"), ("--header", "A: b"), ("--field", "x"), ("--ready", "/")),
        )
    ),
    (("alexnet-bench latency", "--threshold", "5"), "nothing to compare with: leave out --thresh"),
    (
        ("alexnet-bench peers", "--checkpoint", "x.safetensors", "--preset", "mini"),
        "--checkpoint is a network of its own: leave out --preset.",
    ),
    (
        ("alexnet-bench peers", "x.onnx", "--only", "exported"),
        "Files are measured as `ours`, not in --only: leave out ARTIFACTS",
    ),
    (
        ("alexnet-export onnx", "-o", "x.onnx", "--calibrate", "photos"),
        "Only --precision int8 takes ranges from photos: leave out --calibrate.",
    ),
    (
        ("alexnet-export tensorrt", "-o", "x.engine", "--precision", "fp16", "--unvalidated"),
        "fp16 needs no photos that show its accuracy: leave out --unvalidated.",
    ),
    (
        ("alexnet-train imagenet-plan", "--preset=mini", "--steps-per-second=1", "--seconds=3"),
        "Nothing is measured without --measure: leave out --seconds.",
    ),
]


@pytest.mark.parametrize(("words", "sentence"), REFUSED)
def test_an_option_of_no_use_beside_the_others_is_refused(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(COMMANDS[words[0]], list(words[1:]), prog_name=words[0])
    assert done.exit_code == 2, done.output
    assert sentence in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_files_count_as_given_where_there_are_some():
    @click.command()
    @click.argument("files", nargs=-1)
    @click.option("--many", multiple=True)
    def command(**_):
        print(options.given("files", "many"))

    assert CliRunner().invoke(command, []).stdout == "[]\n"
    assert CliRunner().invoke(command, ["a"]).stdout == "['FILES']\n"
    assert CliRunner().invoke(command, ["--many", "a"]).stdout == "['--many']\n"
