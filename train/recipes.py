"""The recipes by name, and what a run is made of by preset and recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from alexnet.config import preset
from alexnet.errors import AlexNetError
from alexnet.settings import SettingsError, with_settings
from train.recipe import Conv1Config, LayersConfig, NoiseConfig, Recipe, RunConfig, ScheduleConfig

# The way photos enter net #145 and its dropout [S convdata_jpeg.py:95,210, layer.cu:1126-1133].
_AS_RUN_IN_2012 = ("input.mean=centred", "network.dropout.scaled=in_test")


def paper() -> Recipe:
    """The recipe of the printed text [P §5], with the colour noise as it was implemented.

    One rate for all layers, divided by ten whenever the validation error stops improving, three
    times; about 90 epochs.
    """
    return Recipe(name="paper")


def net145() -> Recipe:
    """Net #145 as it was run on ILSVRC-2012 [S layer-params-145.cfg:165-182].

    Cuts at epochs 25, 51 and 79; biases stay at .02; conv1 learns at a tenth from epoch 67 and is
    frozen from 72; noise by standard deviations, its input divided by 1.1, off from epoch 67; one
    crop for 32 photos. 40.664 % / 18.210 % with ten views after 90 epochs, on the preset `net145`.
    """
    return Recipe(
        name="net145",
        schedule=ScheduleConfig(kind="epochs", cut_at=(25, 51, 79)),
        bias_lr=0.02,
        bias_schedule=ScheduleConfig(kind="constant"),
        conv1=Conv1Config(slow_at=67, frozen_at=72),
        crops_shared_by=32,
        noise=NoiseConfig(rescale=True, off_at=67),
        epochs=90,
        network_settings=_AS_RUN_IN_2012,
    )


def net170() -> Recipe:
    """Net #170: the geometric schedule that needs nobody to watch it [S layer-params-170.cfg].

    Rates .01, .0015874, .00025198, .00004 on quarters of the run; biases .02 and .002 on halves;
    noise off from epoch 68, conv1 frozen from 74. 40.528 % / 18.048 % with ten views. That the run
    took about 95 epochs is inferred from a note in layer-params-169.cfg.
    """
    return replace(
        net145(),
        name="net170",
        schedule=ScheduleConfig(kind="dexp", reduction=250.0, steps=4),
        bias_schedule=ScheduleConfig(kind="dexp", reduction=10.0, steps=2),
        conv1=Conv1Config(frozen_at=74),
        noise=NoiseConfig(rescale=True, off_at=68),
        epochs=95,
    )


def modern() -> Recipe:
    """What one would do today with the same network; ours, not of 2012.

    Larger minibatches keep a device busy, and a rate that grows with them needs a warm-up; half a
    cosine needs no person and no plateau; products in bfloat16, channels last and compiled kernels
    are what hardware is made for; smoothed labels keep a network from being too sure; a crop of its
    own for each photo is more varied. PyTorch's order of rate and velocity.
    """
    return Recipe(
        name="modern",
        batch=256,
        lr=0.02,
        bias_lr=0.02,
        schedule=ScheduleConfig(kind="cosine", warm_up=5),
        lr_in_velocity=False,
        zero_lr_skips=False,
        label_smoothing=0.1,
        epochs=90,
        dtype="bfloat16",
        compiled=True,
    )


def mini() -> Recipe:
    """The recipe of the small model that ships; ours, not of 2012.

    Half the minibatch, twice the rate for biases, and cuts at fixed epochs, so that the length of
    the run is known before it starts.
    """
    schedule = ScheduleConfig(kind="epochs", cut_at=(58, 68))
    return Recipe(name="mini", batch=64, bias_lr=0.02, schedule=schedule, epochs=72)


RECIPES: dict[str, Callable[[], Recipe]] = {
    maker.__name__: maker for maker in (paper, net145, net170, modern, mini)
}


def recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        AlexNetError: there is no such recipe.
    """
    if name not in RECIPES:
        raise AlexNetError(f"There is no recipe '{name}': choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]()


def run_config(
    preset_name: str,
    chosen: Recipe,
    *,
    classes: int,
    seed: int = 0,
    settings: Iterable[str] = (),
) -> RunConfig:
    """A preset trained by a recipe: what the recipe asks of the network, then `settings`.

    Raises:
        AlexNetError: there is no such preset, it can't have what the recipe asks for, or the
            settings do not go together.
    """
    base = preset(preset_name)
    config = RunConfig(
        preset=preset_name,
        input=base.input,
        network=replace(base.network, classes=classes),
        recipe=chosen,
        seed=seed,
    )
    try:
        return with_settings(config, [*chosen.network_settings, *settings])
    except SettingsError:
        _check_goes_with(chosen, config)
        raise


def _check_goes_with(recipe: Recipe, config: RunConfig) -> None:
    try:
        with_settings(config, recipe.network_settings)
    except SettingsError as error:
        raise AlexNetError(
            f"The preset {config.preset} can't have what the recipe {recipe.name} asks of it "
            f"({', '.join(recipe.network_settings)}): {error} A --set of yours comes last and can "
            "undo what the recipe asks for."
        ) from error


def stretched(recipe: Recipe, epochs: int) -> Recipe:
    """The same recipe over another number of epochs: cuts, freezing and noise's end move along.

    They fall on whole epochs, so that a phase of less than one may vanish; rates of some layers
    change where they would, in the middle of an epoch if need be.

    Raises:
        AlexNetError: so few epochs that two cuts would fall on one.
    """
    share = epochs / recipe.epochs

    def moved(epoch: int | None) -> int | None:
        return None if epoch is None else 1 + round((epoch - 1) * share)

    def schedule(config: ScheduleConfig) -> ScheduleConfig:
        cut_at = tuple(1 + round((cut - 1) * share) for cut in config.cut_at)
        patience = config.patience
        if config.kind == "plateau":
            patience = max(1, round(patience * share))
        return replace(config, cut_at=cut_at, patience=patience, warm_up=config.warm_up * share)

    def own(part: LayersConfig) -> LayersConfig:
        steps = (replace(step, at=1 + (step.at - 1) * share) for step in part.steps)
        return replace(part, steps=tuple(steps))

    conv1, noise, biases = recipe.conv1, recipe.noise, recipe.bias_schedule
    try:
        return replace(
            recipe,
            epochs=epochs,
            schedule=schedule(recipe.schedule),
            bias_schedule=None if biases is None else schedule(biases),
            conv1=replace(conv1, slow_at=moved(conv1.slow_at), frozen_at=moved(conv1.frozen_at)),
            layers=tuple(own(part) for part in recipe.layers),
            noise=replace(noise, off_at=moved(noise.off_at)),
        )
    except ValueError as error:
        raise AlexNetError(
            f"The recipe {recipe.name} does not fit into {epochs} epoch(s): {error}"
        ) from error
