"""What a reproduction on ImageNet costs, and its commands, as JSON values and for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

from alexnet.config import Config
from alexnet.console import print_table
from train import cost
from train.cost import Machines, Pace
from train.recipe import RunConfig
from train.recipes import recipe, run_config
from train.reproduction import SEEDS, Place, left_out, steps, variants


@dataclass(frozen=True, kw_only=True)
class Photos:
    """How many there are."""

    train: int = cost.TRAIN_PHOTOS
    val: int = cost.VAL_PHOTOS


def imagenet_plan(
    run: RunConfig,
    place: Place,
    pace: Pace,
    *,
    photos: Photos,
    cores: int,
    settings: Sequence[str] = (),
) -> dict[str, Any]:
    """Hours, disk, bytes that are sent, and the commands.

    Args:
        run: the network and its recipe, with `settings` applied.
        place: folders and machines.
        pace: how fast devices are.
        photos: of the data set.
        cores: of the machine that prepares the photos.
        settings: what --set changed.

    Raises:
        AlexNetError: the settings do not fit one of the paper's variants.
    """
    machines = place.machines
    speed = pace.photos_per_second(run, machines)
    others = _variants(run, settings)
    stages = _stages(run, speed, photos=photos, others=others, machines=machines.machines)
    prepared = (photos.train + photos.val) / (pace.prepared_per_second * cores * 3600)
    prepare = {"stage": "prepare", "what": f"{cores} core(s) of one machine", "hours": prepared}
    stages = [prepare, *stages]
    count = cost.steps_of(run, photos.train)
    runs = SEEDS + len(others)
    return {
        "preset": run.preset,
        "recipe": run.recipe.name,
        "epochs": run.recipe.epochs,
        "batch": run.recipe.batch,
        "steps": count,
        "photos": asdict(photos),
        **asdict(machines),
        "replicas": machines.replicas,
        "pace": asdict(pace),
        "photos_per_second": speed,
        "assumptions": _assumptions(run, machines, pace),
        "stages": stages,
        "hours": sum(stage["hours"] for stage in stages),
        "disk": cost.disk(run, photos=photos.train + photos.val, runs=runs),
        "sent": _sent(run, machines, count),
        "left_out": list(left_out(run.config)),
        "commands": [asdict(step) for step in steps(run, place, settings=settings)],
    }


def _variants(run: RunConfig, settings: Sequence[str]) -> dict[str, Config]:
    found = {}
    for variant in variants(run.config):
        chosen, asked = recipe(run.recipe.name), [*settings, *variant.settings]
        classes = run.network.classes
        other = run_config(variant.preset, chosen, classes=classes, settings=asked)
        found[variant.name] = other.config
    return found


def _stages(
    run: RunConfig, speed: float, *, photos: Photos, others: dict[str, Config], machines: int
) -> list[dict[str, Any]]:
    fit = cost.fit_hours(run, speed, train=photos.train, val=photos.val)
    alone = speed / machines  # one machine evaluates
    val = {views: cost.evaluate_seconds(alone, photos.val, views=views) / 3600 for views in (1, 10)}
    epochs = f"{run.recipe.epochs} epochs"
    rows = [
        ("fit", f"one network, {epochs}", fit),
        ("evaluate", f"centre view of {photos.val:,}", val[1]),
        ("evaluate", f"ten views of {photos.val:,}", val[10]),
        ("ensemble", f"{SEEDS - 1} networks more, {epochs} each", (SEEDS - 1) * fit),
        ("ensemble", f"ten views by {SEEDS} networks", SEEDS * val[10]),
    ]
    for name, config in others.items():
        faster = cost.relative_speed(run.config, config)
        rows.append(("ablation", f"{name}, ten views at the end", (fit + val[10]) / faster))
    return [{"stage": stage, "what": what, "hours": hours} for stage, what, hours in rows]


def _sent(run: RunConfig, machines: Machines, count: int) -> list[dict[str, Any]]:
    """Rows of bytes that a process sends: in a step, and in a whole run."""
    item = cost.ITEM.get(run.recipe.dtype, 4)
    photos = -(-run.recipe.batch // machines.replicas)
    found = cost.exchanges(run.config, photos=photos, columns=machines.columns, item=item)
    rows = {
        layer if layer == "logits" else f"before {layer}": size for layer, size in found.items()
    }
    if machines.replicas > 1:
        rows["gradients"] = cost.gradients(run.config, machines, item=item)
    return [
        {"what": what, "bytes_per_step": size, "bytes": size * count} for what, size in rows.items()
    ]


def _assumptions(run: RunConfig, machines: Machines, pace: Pace) -> list[str]:
    batch, replicas = run.recipe.batch, machines.replicas
    share = (
        f"{replicas} networks share each minibatch of {batch}, {batch / replicas:g} photos each"
        if replicas > 1
        else f"one network gets each minibatch of {batch}"
    )
    found = [
        f"{machines.total} device(s) train {machines.total / pace.devices:g} times as fast as "
        f"{pace.devices} did: {share}, and no time is counted for what is sent. Hours are a lower "
        "bound.",
        "Photos are prepared and networks evaluated on one machine. A forward pass takes a third "
        "of a step's time a photo; an epoch ends with the centre view of all validation photos, a "
        "run with ten views.",
        "Networks of other sizes take time by their multiply-accumulates.",
    ]
    if run.recipe.schedule.kind == "plateau":
        found.append("The recipe ends at a plateau: its epochs are the most that it can take.")
    if run.recipe.dtype == "bfloat16":
        found.append("Bytes are those of float32; some of the maps are sent in bfloat16.")
    return found


def print_plan(plan: dict[str, Any]) -> None:
    """The plan for people: assumptions, tables, and the commands in their order."""
    speed, pace = plan["photos_per_second"], plan["pace"]
    click.echo(
        f"{plan['preset']} by the recipe {plan['recipe']}: {plan['steps']:,} steps of "
        f"{plan['batch']} photos. {plan['machines']} machine(s) with {plan['devices']} device(s), "
        f"{plan['columns']} column(s) of a network each on its own, {plan['replicas']} network(s) "
        f"side by side. {pace['steps_per_second']:.4g} steps a second on {pace['devices']} "
        f"device(s): {speed:,.1f} photos a second on all."
    )
    for sentence in plan["assumptions"]:
        click.echo(f"- {sentence}")
    rows = [(s["stage"], s["what"], f"{s['hours']:,.3f}") for s in plan["stages"]]
    rows.append(("all", "", f"{plan['hours']:,.3f}"))
    print_table("What it takes", ("stage", "what", "hours"), rows)
    print_table(
        "On the disk",
        ("what", "GB", "source"),
        [(row["what"], f"{row['bytes'] / 1e9:,.3g}", row["source"]) for row in plan["disk"]],
    )
    if plan["sent"]:
        print_table(
            "What each process sends",
            ("what", "bytes a step", "GB in a run"),
            [
                (row["what"], f"{row['bytes_per_step']:,}", f"{row['bytes'] / 1e9:,.1f}")
                for row in plan["sent"]
            ],
        )
    for step in plan["commands"]:
        top = "" if step["errors"] is None else "{:.1f} % / {:.1f} %, ".format(*step["errors"])
        where = ", on every machine" if step["everywhere"] else ""
        click.echo(f"\n# {step['stage']}{where}: {top}{step['gives']}\n{step['command']}")
    if plan["left_out"]:
        click.echo("\nNot among these:")
    for sentence in plan["left_out"]:
        click.echo(f"- {sentence}")
