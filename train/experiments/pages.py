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
    done = (
        "All that these settings ask for was run"
        if result["complete"]
        else "**Not all of it was run yet**"
    )
    photos = f"{data['photos']['train']:,} training and {data['photos']['val']:,} validation photos"
    return (
        f"`{result['command']}`: {result['runs']} trainings, {hours(result['seconds'])} of "
        f"training, added up over processes, on {machine['cpu']} ({where}), {named}; "
        f"{photos} of {data['size']} pixels; {result['date']}. {done}."
    )


def hours(seconds: float) -> str:
    """A time as people say it."""
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def check_page(experiment: Experiment, docs: Path) -> None:
    """Find out before the trainings that `publish` would not find its place.

    Raises:
        ExperimentError: the page is not there, or has no place for this experiment.
    """
    _check_places(_read(docs), experiment)


def publish(experiment: Experiment, result: dict[str, Any], docs: Path) -> None:
    """Write the section into `docs`/results.md, and its figure beside the page.

    Raises:
        ExperimentError: the page is not there, or has no place for this experiment.
    """
    write_text(docs / PAGE, with_section(_read(docs), experiment, result))
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
    _check_places(page, experiment)
    begin, end = marks(experiment.name)
    text = f"{begin}\n\n{section(experiment, result)}\n\n{end}"
    return _places(experiment).sub(lambda _: text, page)


def marks(name: str) -> tuple[str, str]:
    """The lines between which a section is made by the program."""
    return f"<!-- experiment {name} -->", f"<!-- end of {name} -->"


def _places(experiment: Experiment) -> re.Pattern[str]:
    begin, end = marks(experiment.name)
    return re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)


def _check_places(page: str, experiment: Experiment) -> None:
    places = len(_places(experiment).findall(page))
    if places != 1:
        begin, end = marks(experiment.name)
        raise ExperimentError(
            f"The page has {places} places for {experiment.name}, not one: it takes the lines "
            f"{begin} and {end}."
        )


def _read(docs: Path) -> str:
    path = docs / PAGE
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ExperimentError(f"{path} can't be read: name the folder of {PAGE}.") from error


def _figure(experiment: Experiment) -> str:
    return f"figures/{experiment.name}.svg"
