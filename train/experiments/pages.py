"""Results of experiments as sections of a Markdown page, each between two marks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from alexnet.figures import save_figure, styled
from alexnet.files import write_text
from train.experiments.experiment import Experiment, ExperimentError

PAGE = "results.md"


def section(experiment: Experiment, result: dict[str, Any]) -> str:
    """Heading, text, figure and small print of a result."""
    parts = [
        f"## {experiment.title}",
        experiment.text(result).strip(),
        f"![{experiment.title}]({_figure(experiment)})",
        small_print(result),
    ]
    return "\n\n".join(parts)


def small_print(result: dict[str, Any]) -> str:
    """Command, hardware, versions, time and number of runs, as every result has them."""
    machine, data = result["machine"], result["data"]
    where = machine["device"] if machine["device"] != "cpu" else f"{machine['cores']} cores"
    named = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    done = "All of it was run" if result["complete"] else "**Not all of it was run yet**"
    photos = f"{data['photos']['train']:,} training and {data['photos']['val']:,} validation photos"
    return (
        f"`{result['command']}`: {result['runs']} trainings, {hours(result['seconds'])} of "
        f"training in all, on {machine['cpu']} ({where}), {named}; {photos} of {data['size']} "
        f"pixels; {result['date']}. {done}."
    )


def hours(seconds: float) -> str:
    """A time as people say it."""
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def publish(experiment: Experiment, result: dict[str, Any], docs: Path) -> None:
    """Write the section into `docs`/results.md, and its figure beside the page.

    Raises:
        ExperimentError: the page is not there, or has no place for this experiment.
    """
    path = docs / PAGE
    try:
        page = path.read_text("utf-8")
    except OSError as error:
        raise ExperimentError(f"{path} can't be read: name the folder of {PAGE}.") from error
    write_text(path, with_section(page, experiment, result))
    draw(experiment, result, docs / _figure(experiment))


def draw(experiment: Experiment, result: dict[str, Any], path: Path) -> None:
    """Write the figure of a result."""
    with styled():
        save_figure(experiment.draw(result), path)


def with_section(page: str, experiment: Experiment, result: dict[str, Any]) -> str:
    """The page with the section of `experiment` made anew.

    Raises:
        ExperimentError: the page has no marks for it.
    """
    begin, end = marks(experiment.name)
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
    places = len(pattern.findall(page))
    if places != 1:
        raise ExperimentError(
            f"The page has {places} places for {experiment.name}, not one: it takes the lines "
            f"{begin} and {end}."
        )
    text = f"{begin}\n\n{section(experiment, result)}\n\n{end}"
    return pattern.sub(lambda _: text, page)


def marks(name: str) -> tuple[str, str]:
    """The lines between which a section is made by the program."""
    return f"<!-- experiment {name} -->", f"<!-- end of {name} -->"


def _figure(experiment: Experiment) -> str:
    return f"figures/{experiment.name}.svg"
