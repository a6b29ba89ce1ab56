"""The command `alexnet-train imagenet-plan`."""

from __future__ import annotations

import click

from alexnet import options
from alexnet.console import Command
from alexnet.json_text import to_json
from alexnet.machine import cores as this_machines_cores
from alexnet.machine import keep_memory, quiet_native_code, share_cores
from train import fit_command
from train.recipes import run_config


@click.command("imagenet-plan", cls=Command)
@options.preset
@fit_command.recipe_option
@click.option(
    "--steps-per-second",
    type=click.FloatRange(min=0, min_open=True),
    help="Steps of the recipe's minibatch, as `alexnet-train speed` or a run's log says.",
)
@click.option(
    "--measured-on",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Devices that together made so many steps a second.",
)
@click.option("--measure", is_flag=True, help="Measure them here, by one process on made photos.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="How long to --measure; three rounds are made at least.",
)
@click.option(
    "--measured-batch",
    type=click.IntRange(min=1),
    show_default="the recipe's on a GPU, 16 on a CPU",
    help="Photos of a step that --measure times.",
)
@click.option("--machines", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--gpus-per-machine",
    "devices",
    type=click.IntRange(min=1),
    show_default="as many as there are columns",
    help="Devices of each machine, a process each. A CPU with all its cores is one.",
)
@click.option(
    "--columns",
    type=click.IntRange(min=1),
    show_default="the network's own on GPUs, 1 on CPUs",
    help="Devices that share one network: 2 puts each column on a device of its own.",
)
@click.option(
    "--cores",
    type=click.IntRange(min=1),
    show_default="this machine's",
    help="Cores that prepare the photos.",
)
@click.option(
    "--photos",
    type=click.IntRange(min=1),
    show_default="1,281,167, as ILSVRC-2012",
    help="Training photos.",
)
@click.option(
    "--val-photos",
    type=click.IntRange(min=1),
    show_default="50,000, as ILSVRC-2012",
    help="Validation photos.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cuda",
    show_default=True,
    help="What the commands train on, and --measure measures.",
)
@fit_command.dtype
@fit_command.workers
@click.option(
    "--archives", default="imagenet", show_default=True, help="The folder of ImageNet's archives."
)
@click.option(
    "--data", default="runs/imagenet", show_default=True, help="The folder for prepared photos."
)
@click.option("--out", default="runs", show_default=True, help="The folder for runs.")
@options.settings
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of tables.")
def imagenet_plan(
    preset_name: str,
    recipe_name: str | None,
    steps_per_second: float | None,
    measured_on: int,
    measure: bool,
    seconds: float,
    measured_batch: int | None,
    machines: int,
    devices: int | None,
    columns: int | None,
    cores: int | None,
    photos: int | None,
    val_photos: int | None,
    device: str,
    dtype: str | None,
    workers: int | None,
    archives: str,
    data: str,
    out: str,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print what the paper's results on ImageNet cost to reproduce, and the commands.

    From steps per second, given or measured here: hours of every stage, space on the disk, bytes
    that processes send each other; then each command, from the archives to the tables, with the
    paper's number that it should give. Nothing is trained or written.
    """
    if (steps_per_second is None) != measure:
        raise click.UsageError("Give --steps-per-second, or let --measure find it: one of them.")
    if measure and measured_on > 1:
        raise click.UsageError("--measure measures one device: --measured-on is for given steps.")
    if not measure:
        unread = ("seconds", "measured_batch", "workers")
        options.refuse_unread(*unread, reason="Nothing is measured without --measure")
    share_cores()
    quiet_native_code()
    keep_memory()
    from train import cost
    from train.columns import check_columns
    from train.imagenet_plan import Photos, print_plan
    from train.imagenet_plan import imagenet_plan as planned
    from train.mesh import open_mesh
    from train.pace import measured_pace
    from train.reproduction import Place

    settings = fit_command.recipe_settings(settings, dtype=dtype)
    chosen = fit_command.chosen_recipe(preset_name, recipe_name)
    run = run_config(preset_name, chosen, classes=cost.CLASSES, settings=settings)
    if columns is None:
        columns = run.network.columns if device == "cuda" else 1
    if columns > 1:
        check_columns(run.network, columns)
    place = Place(
        archives=archives.rstrip("/"),
        data=data,
        out=out,
        device=device,
        machines=cost.Machines(machines=machines, devices=devices or columns, columns=columns),
    )
    measurement = None
    if not measure:
        assert steps_per_second is not None
        pace = cost.Pace(steps_per_second=steps_per_second, devices=measured_on)
    else:
        if measured_batch is None and device == "cpu":
            measured_batch = 16
        with open_mesh(device=device) as mesh:
            if workers is None:
                workers = fit_command.decoders(device, mesh.neighbours)
            pace, measurement = measured_pace(
                run, mesh=mesh, workers=workers, seconds=seconds, batch=measured_batch
            )
    plan = planned(
        run,
        place,
        pace,
        photos=Photos(train=photos or cost.TRAIN_PHOTOS, val=val_photos or cost.VAL_PHOTOS),
        cores=cores or this_machines_cores(),
        settings=settings,
    )
    plan["measurement"] = measurement
    if as_json:
        click.echo(to_json(plan, indent=2, ascii=True))
        return
    if measurement is not None:
        click.echo(f"What bounds a run here: {measurement['verdict']}")
    print_plan(plan)
