"""Every command of the five programs."""

import click

import bench.cli
import export.cli
import serve.label
import serve.neighbours_command
import serve.run
import train.cli

PROGRAMS = {
    "alexnet-train": train.cli.main,
    "alexnet-export": export.cli.main,
    "alexnet-label": serve.label.main,
    "alexnet-label neighbours": serve.neighbours_command.main,
    "alexnet-serve": serve.run.main,
    "alexnet-bench": bench.cli.main,
}


def commands():
    """The commands by their full names: `alexnet-train fit`."""

    def walk(name, command):
        if not isinstance(command, click.Group):
            yield name, command
            return
        for word, one in command.commands.items():
            yield from walk(f"{name} {word}", one)

    return {
        name: command for program, main in PROGRAMS.items() for name, command in walk(program, main)
    }
