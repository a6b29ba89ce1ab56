"""The commands of a reproduction, from ImageNet's archives to the paper's tables."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from alexnet.config import Config
from train.cost import TRAIN_PHOTOS, VAL_PHOTOS, Machines
from train.recipe import RunConfig

SEEDS = 5
"""Networks of the average in Table 2."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command, and what it should give."""

    stage: str
    """`prepare`, `fit`, `evaluate`, `ensemble`, `ablation`, `figures` or `export`."""
    command: str
    """As typed."""
    gives: str
    """With the paper's number, where there is one, and where that stands."""
    errors: tuple[float, float] | None = None
    """Published top-1 and top-5 error on ILSVRC-2012's validation photos, in percent."""
    everywhere: bool = False
    """Whether each machine is given it."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A network that lacks something, and what the paper says that costs."""

    name: str
    preset: str
    settings: tuple[str, ...] = ()
    gives: str
    errors: tuple[float, float] | None = None
    columns: int | None = None
    """None is the plan's."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where files are, and on what it runs."""

    archives: str = "imagenet"
    data: str = "runs/imagenet"
    out: str = "runs"
    device: str = "cuda"
    machines: Machines = field(default_factory=Machines)


# By preset and recipe: what was published of ten views, where, and of the centre view.
_PUBLISHED: dict[tuple[str, str], tuple[tuple[float, float], str, str]] = {
    ("net145", "net145"): (
        (40.7, 18.2),
        "Table 2, 1 CNN",
        "about 42.6 / 19.7 (inferred: ten views gained 1.5 to 2.2 / 1.2 to 1.6 in the logs)",
    ),
    ("net145", "net170"): ((40.5, 18.0), "the author's log of net #170", "42.3 / 19.6, same log"),
}
_UNPUBLISHED = "nothing published of this training (Table 2's 40.7 / 18.2 are net145's own)"
_NEUTRAL = ("recipe.dtype=", "recipe.tf32=", "recipe.compiled=", "recipe.channels_last=")
"""Settings of how, not of what: the published numbers remain the ones to reach."""


def variants(config: Config) -> tuple[Variant, ...]:
    """The networks of the paper's comparisons, where `config` is the paper's network."""
    if config.preset not in ("paper", "net145"):
        return ()
    both = config.preset
    return (
        Variant(
            name="one_gpu",
            preset="one_gpu",
            columns=1,
            gives="1.7 / 1.2 points more than two columns (section 3.2, measured on ILSVRC-2010)",
        ),
        Variant(
            name=f"{both}-no-lrn",
            preset=both,
            settings=_without_lrn(config),
            gives="1.4 / 1.2 points more than with it (section 3.3; log of #148)",
            errors=(42.0, 19.4),
        ),
        Variant(
            name=f"{both}-plain-pooling",
            preset=both,
            settings=_plain_pooling(config),
            gives=".4 / .3 points more than overlapping (section 3.4; log of #147)",
            errors=(41.1, 18.5),
        ),
        Variant(
            name=f"{both}-no-noise",
            preset=both,
            settings=("recipe.noise.coefficient=0",),
            gives="over 1 point of top-1 more than with colour noise (section 4.1; no log of it)",
        ),
        Variant(
            name=f"{both}-no-dropout",
            preset=both,
            settings=("network.dropout.rate=0",),
            gives="substantial overfitting (section 4.2; no log of it)",
        ),
    )


def left_out(config: Config) -> tuple[str, ...]:
    """What the paper measured that these commands do not, where `config` is its network."""
    if config.preset not in ("paper", "net145"):
        return ()
    return (
        "Table 1 (37.5 % / 17.0 %; 39.0 % / 18.3 % with the centre view) is of ILSVRC-2010's test "
        "photos: the same fit and evaluate, on that data.",
        "The rows of Table 2 with a star need ImageNet's releases of 2009 and 2011, and the preset "
        "six_conv.",
        "That each middle layer is worth about 2 points (section 7) has no log; leave one out of "
        "network.convs.",
    )


def steps(run: RunConfig, place: Place, *, settings: Sequence[str] = ()) -> list[Step]:
    """All commands in the order in which they are given.

    Args:
        run: the network and its recipe, with `settings` applied.
        place: folders and machines.
        settings: what --set changed.
    """
    preset, recipe = run.preset, run.recipe.name
    name = preset if preset == recipe else f"{preset}-{recipe}"
    errors, source, centre = _PUBLISHED.get((preset, recipe), (None, _UNPUBLISHED, _UNPUBLISHED))
    if not all(setting.startswith(_NEUTRAL) for setting in settings):
        errors, source, centre = None, _UNPUBLISHED, _UNPUBLISHED
    folders = [f"{place.out}/{name}-{seed}" for seed in range(SEEDS)]
    models = [f"{folder}/model.safetensors" for folder in folders]
    found = [
        _prepare(run, place),
        _fit(preset, recipe, folders[0], place, settings=settings, gives=_run_length(run)),
        _evaluate(models[:1], place, "centre", gives=centre),
        _evaluate(models[:1], place, "ten", gives=source, errors=errors),
    ]
    for seed, folder in enumerate(folders[1:], 1):
        found.append(
            _fit(
                *(preset, recipe, folder, place),
                settings=settings,
                seed=seed,
                stage="ensemble",
                gives=f"the same with seed {seed}",
            )
        )
    average = ("Table 2, 5 CNNs: five similar networks, not seeds of one", (38.1, 16.4))
    words, five = average if errors else (_UNPUBLISHED, None)
    found.append(_evaluate(models, place, "ten", gives=words, errors=five, stage="ensemble"))
    for variant in variants(run.config):
        folder = f"{place.out}/{variant.name}-0"
        found.append(
            _fit(
                *(variant.preset, recipe, folder, place),
                settings=[*settings, *variant.settings],
                columns=variant.columns,
                stage="ablation",
                gives=_run_length(run),
            )
        )
        model = f"{folder}/model.safetensors"
        known = variant.errors if errors else None
        found.append(
            _evaluate([model], place, "ten", gives=variant.gives, errors=known, stage="ablation")
        )
    return [*found, *_pictures(run, folders[0], place)]


def _prepare(run: RunConfig, place: Place) -> Step:
    shape = ["--size", str(run.input.size)]
    if run.input.fit != "crop":
        shape += ["--fit", run.input.fit]
    if run.input.filter != "bilinear":
        shape += ["--filter", run.input.filter]
    return Step(
        stage="prepare",
        command=shlex.join(["alexnet-train", "prepare", f"{place.archives}/", place.data, *shape]),
        gives=f"{TRAIN_PHOTOS:,} training and {VAL_PHOTOS:,} validation photos of 1,000 classes",
    )


def _fit(
    preset: str,
    recipe: str,
    folder: str,
    place: Place,
    *,
    settings: Iterable[str],
    seed: int = 0,
    columns: int | None = None,
    stage: str = "fit",
    gives: str,
) -> Step:
    columns = place.machines.columns if columns is None else columns
    words = ["fit", "--preset", preset, "--recipe", recipe, "--data", place.data]
    words += ["--out", folder, "--seed", str(seed), "--device", place.device]
    words += ["--columns", str(columns)] if columns > 1 else []
    for setting in settings:
        words += ["--set", setting]
    everywhere = place.machines.machines > 1
    start = _started(place.machines, launch=PurePosixPath(folder).name if everywhere else None)
    command = shlex.join([*start, *words])
    return Step(stage=stage, command=command, gives=gives, everywhere=everywhere)


def _evaluate(
    models: Sequence[str],
    place: Place,
    views: str,
    *,
    gives: str,
    errors: tuple[float, float] | None = None,
    stage: str = "evaluate",
) -> Step:
    words = ["evaluate", *models, "--data", place.data, "--views", views]
    words += ["--device", place.device]
    command = shlex.join([*_started(place.machines), *words])
    return Step(stage=stage, command=command, gives=gives, errors=errors)


def _pictures(run: RunConfig, folder: str, place: Place) -> list[Step]:
    model = f"{folder}/model.safetensors"
    draw = ["alexnet-train", "figures", model, "--data", place.data, "--out", f"{folder}/figures"]
    export = ["alexnet-export", "onnx", model, "-o", f"{folder}/model.onnx"]
    verify = ["alexnet-export", "verify", model, f"{folder}/model.onnx"]
    colours = (
        "Figure 3: one column's kernels mostly grey, the other's mostly coloured; Figure 4, left"
        if run.network.columns == 2
        else "Figure 3 of one column; Figure 4, left"
    )
    return [
        Step(stage="figures", command=shlex.join([*draw, "--device", place.device]), gives=colours),
        Step(stage="export", command=shlex.join(export), gives="ten views in one graph"),
        Step(stage="export", command=shlex.join(verify), gives="differences of 1e-5 at most"),
    ]


def _started(machines: Machines, *, launch: str | None = None) -> list[str]:
    """What stands before a verb: `alexnet-train`, or torchrun and what it starts.

    `launch`: the name by which all machines know it; None: on one of them alone.
    """
    start = ["torchrun"]
    if launch is not None:
        start += ["--nnodes", str(machines.machines)]
    start += ["--nproc-per-node", str(machines.devices)]
    if launch is not None:
        start += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "HOST"]
        start += ["--rdzv-id", f"{launch}-1", "--max-restarts", "3"]
    many = launch is not None or machines.devices > 1
    # By its name: `-m train` would run a train.py in the current folder.
    return [*start, "--no-python", "alexnet-train"] if many else ["alexnet-train"]


def _run_length(run: RunConfig) -> str:
    at_most = "at most " if run.recipe.schedule.kind == "plateau" else ""
    return f"{at_most}{run.recipe.epochs} epochs (the paper: roughly 90)"


def _without_lrn(config: Config) -> tuple[str, ...]:
    """Every response normalisation left out, the same-map one, too, as in net #148."""
    found = []
    for place, conv in enumerate(config.network.convs):
        kept = [step for step in conv.steps if step not in ("lrn", "same_map_lrn")]
        if kept != list(conv.steps):
            where = f"network.convs.{place}"
            found.append(f"{where}.steps={json.dumps(kept)}")
            found += [f"{where}.{step}=null" for step in conv.steps if step not in kept]
    return tuple(found)


def _plain_pooling(config: Config) -> tuple[str, ...]:
    """Windows of 2x2 that do not overlap; conv2 padded by 1 and conv5 by 0, as in net #147."""
    convs = config.network.convs
    pools = [f"network.convs.{n}.pool.size=2" for n, conv in enumerate(convs) if conv.pool]
    return (*pools, "network.convs.1.pad=[1, 1]", "network.convs.4.pad=[0, 0]")
