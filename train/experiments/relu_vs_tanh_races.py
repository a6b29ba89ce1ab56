"""How the rates of ReLU and of tanh were chosen: text and table of the races."""

from __future__ import annotations

from typing import Any

from train.experiments.cifar_training import Epoch
from train.experiments.race import Rules, asked

_NAMES = {"relu": "ReLU", "tanh": "tanh"}


def races(name: str, net: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """Paragraphs on the races of a net; one names trainings longer than the rules ask for."""
    parts = [_search_words(name, settings), _search_table(net)]
    longer = [
        f"{_NAMES[kind]} at {rate:g} trained {had} epochs where these rules ask for {due}"
        for kind in _NAMES
        for race in net[kind]["races"]
        for rate, had, due in _longer(race, settings)
    ]
    if longer:
        parts.append(f"{'; '.join(longer)}: nothing was chosen by what is more.")
    return parts


def _longer(race: dict[str, Any], settings: dict[str, Any]) -> list[tuple[float, int, int]]:
    """Rate, epochs, and epochs by the rules, of those that lost and yet trained on."""
    if not race["over"]:
        return []
    rules = Rules(
        target=settings["target"],
        rungs=tuple(settings["rungs"]),
        max_epochs=settings["max_epochs"],
    )
    runs = {run["rate"]: _epochs(run) for run in race["candidates"]}
    due = {rate: asked(str(rate), {str(r): run for r, run in runs.items()}, rules) for rate in runs}
    return [
        (rate, len(run), due[rate])
        for rate, run in runs.items()
        if rate != race["rate"] and len(run) > due[rate]
    ]


def _epochs(run: dict[str, Any]) -> list[Epoch]:
    """A result keeps no losses, and says only whether the last one was a number."""
    last = len(run["errors"]) - 1
    return [
        Epoch(error=error, loss=None if run["diverged"] and n == last else 0.0, seconds=0.0)
        for n, error in enumerate(run["errors"])
    ]


def _search_words(name: str, settings: dict[str, Any]) -> str:
    rates = ", ".join(f"{rate:g}" for rate in settings["rates"])
    rungs = " and ".join(str(rung) for rung in settings["rungs"])
    halved = f"After epochs {rungs} the better half went on, and never less than two. "
    several = len(settings["first_stds"]) > 1
    each = (
        " and for each deviation of conv1's first weights (with the layer file's 0.0001 a tanh "
        "begins nearly linear, so a larger one is tried for both)"
    )
    quicker = ", and the quicker race of each nonlinearity gave the values above"
    return (
        f"How the rates of net {name.upper()} were chosen: {rates} raced with the seed "
        f"{settings['seeds'][0]}, for each nonlinearity{each if several else ''}. "
        f"{halved if rungs else ''}The first to cross ended the race{quicker if several else ''}. "
        "The table has the epoch at which a training crossed, or in brackets how many epochs it "
        "trained and the error in the last of them."
    )


def _search_table(net: dict[str, Any]) -> str:
    rates = [run["rate"] for run in net["relu"]["races"][0]["candidates"]]
    rows = [
        "| nonlinearity, std | " + " | ".join(f"{rate:g}" for rate in rates) + " |",
        "| --- |" + " ---: |" * len(rates),
    ]
    for kind, name in _NAMES.items():
        for race in net[kind]["races"]:
            cells = [_cell(run, won=run["rate"] == race["rate"]) for run in race["candidates"]]
            rows.append(f"| {name}, {race['first_std']:g} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _cell(run: dict[str, Any], *, won: bool) -> str:
    if run["diverged"]:
        return "diverged"
    if not run["errors"]:
        return ""
    if run["crossing"] is not None:
        return f"**{run['crossing']:.1f}**" if won else f"{run['crossing']:.1f}"
    return f"({len(run['errors'])}: {run['errors'][-1]:.0%})"
