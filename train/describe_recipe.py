"""A recipe in numbers: its fields, and its rates from the first epoch to the last."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import click

from alexnet.console import print_table
from alexnet.settings import to_dict, with_settings
from train.recipe import READERS, Recipe, ScheduleConfig
from train.recipes import RECIPES
from train.schedule import Moment, Rates, rates

PHOTOS = 1_281_167
"""Training photos of ILSVRC-2012: how many steps an epoch has decides a warm-up's first rates."""
_PARTS = 1_000_000


@dataclass(frozen=True)
class Stage:
    """A part of a run with rates of its own, or a moment of one in which they keep changing."""

    begins: float
    """Epochs that are over when it begins."""
    ends: float | None
    """Epochs that are over when it ends; None: of a moment."""
    rates: Rates
    noise: float
    """Coefficient of the colour noise."""

    @property
    def words(self) -> str:
        """Its epochs, counted from 1; of an epoch that it does not have whole, up to where."""
        first, begun = int(self.begins) + 1, self.begins % 1
        start = f"{first} from {begun:.0%}" if begun else str(first)
        if self.ends is None:
            return start
        last, part = math.ceil(self.ends), self.ends % 1
        return f"{start} to {last}" + (f" at {part:.0%}" if part else "")


@dataclass(frozen=True)
class _Only:
    """A recipe without a network, for --set."""

    recipe: Recipe


def only_recipe(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The recipe with settings of its own fields, `recipe.lr=0.02`.

    Raises:
        SettingsError: a setting of something else, or one that does not fit.
    """
    return with_settings(_Only(recipe), settings).recipe


def stages(recipe: Recipe) -> list[Stage]:
    """The run from change to change; where rates change with every step, some moments of it.

    A plateau's cuts are not in it: nobody knows when they will be.
    """
    if any(_flows(schedule) for schedule in _schedules(recipe)):
        steps = math.ceil(PHOTOS / recipe.batch)
        epochs = sorted(_sampled(recipe))
        return [_stage(recipe, Moment(epoch, 0, steps), epoch - 1, None) for epoch in epochs]
    edges = sorted({0.0, *_edges(recipe), float(recipe.epochs)})
    edges = [edge for edge in edges if edge <= recipe.epochs]
    found: list[Stage] = []
    for begins, ends in pairwise(edges):
        epoch, part = divmod((begins + ends) / 2, 1)
        moment = Moment(int(epoch) + 1, round(part * _PARTS), _PARTS)
        stage = _stage(recipe, moment, begins, ends)
        if found and (found[-1].rates, found[-1].noise) == (stage.rates, stage.noise):
            stage = _stage(recipe, moment, found.pop().begins, ends)
        found.append(stage)
    return found


def recipe_json(recipe: Recipe) -> dict[str, Any]:
    """Fields and stages as JSON values."""
    return {
        "recipe": to_dict(recipe),
        "about": _about(recipe),
        "validation_error_decides": recipe.schedule.kind == "plateau",
        "rates": [
            {"begins": stage.begins, "ends": stage.ends, **_figures(stage)}
            for stage in stages(recipe)
        ],
    }


def print_recipe(recipe: Recipe) -> None:
    """The same as tables on stdout."""
    print_table(
        f"{recipe.name}: {_about(recipe)}",
        ("field", "value"),
        list(_leaves("recipe", to_dict(recipe))),
    )
    rows = [
        (stage.words, *(f"{figure:.6g}" for figure in _figures(stage).values()))
        for stage in stages(recipe)
    ]
    columns = ("epochs", *(name.replace("_", " ") for name in _figures(stages(recipe)[0])))
    print_table("Learning rates, and the colour noise", columns, rows)
    for sentence in _remarks(recipe):
        click.echo(sentence)
    if recipe.network_settings:
        print_table(
            "Asked of the network",
            ("field", "value"),
            [setting.split("=", 1) for setting in recipe.network_settings],
        )


def _remarks(recipe: Recipe) -> Iterator[str]:
    """What the table of rates does not show."""
    schedule = recipe.schedule
    if schedule.kind == "plateau":
        whose = "all rates" if recipe.bias_schedule is None else "the weights' rates"
        yield (
            f"The validation error decides: after {schedule.patience} epoch(s) without a better "
            f"one, {whose} are multiplied by {schedule.factor:g}, {schedule.cuts} time(s) at most; "
            "the next plateau ends the run."
        )
    if any(_flows(part) for part in _schedules(recipe)):
        yield (
            "Rates change with every step: these are of the first step of some epochs, of "
            f"{PHOTOS:,} photos each (ILSVRC-2012)."
        )


def _about(recipe: Recipe) -> str:
    """The first sentence of what the recipe says of itself."""
    return re.split(r"(?<=\.)\s", inspect.getdoc(RECIPES[recipe.name]) or "", maxsplit=1)[0]


def _figures(stage: Stage) -> dict[str, float]:
    return stage.rates.named() | {"noise": stage.noise}


def _stage(recipe: Recipe, moment: Moment, begins: float, ends: float | None) -> Stage:
    coefficient = recipe.noise.at(moment.epoch).coefficient
    return Stage(begins, ends, rates(recipe, moment), coefficient)


def _schedules(recipe: Recipe) -> Iterator[ScheduleConfig]:
    yield recipe.schedule
    if recipe.bias_schedule is not None:
        yield recipe.bias_schedule


def _flows(schedule: ScheduleConfig) -> bool:
    """Whether rates change with every step."""
    return schedule.kind == "cosine" or schedule.warm_up > 0


def _edges(recipe: Recipe) -> Iterator[float]:
    """Epochs that are over when something changes."""
    for schedule in _schedules(recipe):
        if schedule.kind == "epochs":
            yield from (float(cut - 1) for cut in schedule.cut_at)
        if schedule.kind == "dexp":
            yield from (recipe.epochs * n / schedule.steps for n in range(1, schedule.steps))
    for epoch in (recipe.conv1.slow_at, recipe.conv1.frozen_at, recipe.noise.off_at):
        if epoch is not None:
            yield float(epoch - 1)
    for part in recipe.layers:
        yield from (round(step.at - 1, 9) for step in part.steps)


def _sampled(recipe: Recipe) -> set[int]:
    """First and last epoch, ten between, those of the warm-up, and those with a change."""
    last = recipe.epochs
    found = {1, last} | {1 + round(last * tenth / 10) for tenth in range(1, 10)}
    for schedule in _schedules(recipe):
        warm = math.ceil(schedule.warm_up)
        if warm:
            found |= {1 + round(warm * fifth / 5) for fifth in range(1, 6)}
    found |= {math.ceil(edge) + 1 for edge in _edges(recipe)}
    return {epoch for epoch in found if epoch <= last}


def _leaves(path: str, plain: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(dotted name, value) of every field as --set takes them; `-` where nothing reads it."""
    kind = plain.get("kind")
    for name, item in plain.items():
        if isinstance(item, dict):
            yield from _leaves(f"{path}.{name}", item)
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            yield from _leaves(f"{path}.{name}", {str(n): part for n, part in enumerate(item)})
        elif kind is not None and kind not in READERS.get(name, (kind,)):
            yield f"{path}.{name}", "-"
        else:
            yield f"{path}.{name}", item if isinstance(item, str) else json.dumps(item)
