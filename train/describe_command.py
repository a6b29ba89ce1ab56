"""The command `alexnet-train describe`."""

from __future__ import annotations

from typing import Any

import click

from alexnet import options
from alexnet.config import PRESETS, Config, preset
from alexnet.console import Command
from alexnet.json_text import to_json
from alexnet.settings import with_settings
from train.recipe import Recipe
from train.recipes import RECIPES, recipe, run_config


@click.command("describe", cls=Command)
@click.option("--preset", "preset_name", type=click.Choice(list(PRESETS)), help="The network.")
@click.option(
    "--recipe", "recipe_name", type=click.Choice(list(RECIPES)), help="How it is trained."
)
@options.settings
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of tables.")
def describe(
    preset_name: str | None, recipe_name: str | None, settings: tuple[str, ...], as_json: bool
) -> None:
    """Print a preset's layers, shapes and counts, or a recipe's fields and rates by epoch.

    With both, the network is as the recipe trains it. The sections of --set are input and network
    with a preset, recipe with a recipe.
    """
    if preset_name is None and recipe_name is None:
        raise click.UsageError("Name what to describe: --preset, --recipe, or both.")
    from train.describe import describe_json, print_description
    from train.describe_recipe import only_recipe, print_recipe, recipe_json

    config: Config | None = None
    chosen: Recipe | None = None
    if preset_name is None:
        chosen = only_recipe(recipe(recipe_name or ""), settings)
    elif recipe_name is None:
        config = with_settings(preset(preset_name), settings)
    else:
        classes = preset(preset_name).network.classes
        run = run_config(preset_name, recipe(recipe_name), classes=classes, settings=settings)
        config, chosen = run.config, run.recipe
    if as_json:
        found: dict[str, Any] = {} if config is None else describe_json(config)
        found |= {} if chosen is None else recipe_json(chosen)
        click.echo(to_json(found, indent=2, ascii=True))
        return
    if config is not None:
        print_description(config)
    if chosen is not None:
        print_recipe(chosen)
