"""What a reproduction on ImageNet costs, and that its commands are such as the programs take."""

import json
import shlex
from dataclasses import replace

import pytest
from click.testing import CliRunner
from torch.distributed.run import get_args_parser

from alexnet.config import mini, preset
from alexnet.geometry import totals
from export.cli import main as export_main
from train import cost
from train.cli import main
from train.cost import Machines, Pace
from train.imagenet_plan import Photos, imagenet_plan
from train.recipes import recipe, run_config
from train.reproduction import Place, variants

NET145 = run_config("net145", recipe("net145"), classes=1000)


def plan(preset_name="net145", recipe_name="net145", *, machines=None, settings=(), **fields):
    """A plan at ten steps a second on one device."""
    run = run_config(preset_name, recipe(recipe_name), classes=1000, settings=settings)
    place = Place(machines=machines or Machines(), **fields)
    pace = Pace(steps_per_second=10)
    return imagenet_plan(run, place, pace, photos=Photos(), cores=10, settings=settings)


def invoke(*arguments):
    return CliRunner().invoke(main, ["imagenet-plan", *map(str, arguments)])


# Bytes


def test_mini_s_columns_send_what_a_run_of_them_logged():
    # docs/results.md: two processes, 128 photos a step, as the trainer counted them.
    assert cost.exchanges(mini(), photos=128, columns=2) == {
        "conv3": 5_537_792,
        "fc6": 1_179_648,
        "fc7": 524_288,
        "fc8": 524_288,
        "logits": 12_800,
    }


def test_exchanges_of_uneven_parts_are_the_first_column_s():
    # As tests/train/test_columns.py finds them in a real run: 24 photos, 8 bytes a number, 8 maps
    # or 16 units a layer; of three logits the first column has two, which only go forth.
    network = mini().network
    convs = tuple(replace(conv, maps=8) for conv in network.convs)
    units = replace(network.fc6, units=16)
    thin = replace(network, convs=convs, fc6=units, fc7=units, classes=3)
    assert cost.exchanges(replace(mini(), network=thin), photos=24, columns=2, item=8) == {
        "conv3": 2 * 24 * 4 * 13 * 13 * 8,
        "fc6": 2 * 24 * 4 * 6 * 6 * 8,
        "fc7": 2 * 24 * 8 * 8,
        "fc8": 2 * 24 * 8 * 8,
        "logits": 24 * 2 * 8,
    }


def test_the_paper_s_columns_talk_before_conv3_and_each_full_layer():
    # Each has 128 of 256 maps of 13 x 13, half of 9216 values and of 4096 units, and 500 logits.
    found = cost.exchanges(preset("paper"), photos=128, columns=2)
    assert list(found) == ["conv3", "fc6", "fc7", "fc8", "logits"]
    assert found["conv3"] == 2 * 4 * 128 * 128 * 13 * 13 == 22_151_168
    assert found["fc6"] == 2 * 4 * 128 * 4608
    assert found["fc7"] == found["fc8"] == 2 * 4 * 128 * 2048
    assert found["logits"] == 4 * 128 * 500
    assert "conv6" in cost.exchanges(preset("six_conv"), photos=1, columns=2)
    assert cost.exchanges(preset("paper"), photos=128, columns=1) == {}


def test_gradients_go_round_a_ring_of_replicas():
    both = Machines(machines=4, devices=2, columns=2)
    assert both.replicas == 4
    # Half of 60,965,224 parameters, 4 bytes each, and 2 * 3 / 4 of them.
    assert cost.gradients(preset("paper"), both) == 30_482_612 * 4 * 6 // 4
    assert cost.gradients(preset("paper"), Machines(devices=2, columns=2)) == 0


def test_what_a_process_sends_counts_its_replica_s_share_of_a_minibatch():
    sent = {
        row["what"]: row
        for row in plan(machines=Machines(machines=4, devices=2, columns=2))["sent"]
    }
    assert sent["before conv3"]["bytes_per_step"] == 22_151_168 // 4
    assert sent["before conv3"]["bytes"] == 900_900 * 22_151_168 // 4
    assert sent["gradients"]["bytes_per_step"] == 182_895_672
    assert plan()["sent"] == []


# Hours and the disk


def test_a_run_has_the_steps_of_2012():
    assert cost.steps_of(NET145, cost.TRAIN_PHOTOS) == 90 * 10_010


def test_hours_by_hand():
    # 1,280 photos a second. An epoch of 2,560 takes 2 s, and 384 forward passes take a third of
    # their .3 s; ten views at the end take 1 s: 90 * 2.1 + 1.
    hours = cost.fit_hours(NET145, 1280, train=2560, val=384)
    assert hours == pytest.approx(190 / 3600)


def test_devices_add_up_and_stages_too():
    one = plan()
    stages = {(row["stage"], row["what"]): row["hours"] for row in one["stages"]}
    fit = stages["fit", "one network, 90 epochs"]
    passes = 90 * (1_281_167 + 50_000 / 3) + 500_000 / 3
    assert fit == pytest.approx(passes / 1280 / 3600)
    assert stages["evaluate", "ten views of 50,000"] == pytest.approx(500_000 / 3 / 1280 / 3600)
    assert stages["ensemble", "4 networks more, 90 epochs each"] == pytest.approx(4 * fit)
    # 270 photos a second on each of ten cores.
    assert stages["prepare", "10 core(s) of one machine"] == pytest.approx(1_331_167 / 2700 / 3600)
    assert one["hours"] == pytest.approx(sum(stages.values()))
    eight = plan(machines=Machines(machines=4, devices=2, columns=2))
    hours = {(row["stage"], row["what"]): row["hours"] for row in eight["stages"]}
    assert hours["fit", "one network, 90 epochs"] == pytest.approx(fit / 8)
    # Evaluation has the two devices of one machine.
    ten = "evaluate", "ten views of 50,000"
    assert hours[ten] == pytest.approx(stages[ten] / 2)
    # With half of the multiply-accumulates, half of the hours.
    small = "ablation", "one_gpu, ten views at the end"
    assert stages[small] == pytest.approx((fit + stages[ten]) * 391_514_384 / 724_406_816)


def test_the_pace_of_several_devices_is_shared_among_them():
    machines = Machines(machines=2, devices=2)
    pace = Pace(steps_per_second=3, devices=2)
    assert pace.photos_per_second(NET145, machines) == 3 * 128 * 4 / 2


def test_the_disk_holds_archives_photos_and_runs():
    rows = {row["what"]: row["bytes"] for row in cost.disk(NET145, photos=1000, runs=2)}
    assert rows["ILSVRC2012_img_train.tar"] / 2**30 == pytest.approx(138, abs=0.5)
    assert rows["prepared photos of 256 pixels"] == round(1000 * (0.569 * 65_536 + 1792))
    # A model, and three checkpoints of weights and velocities.
    assert rows["runs (2)"] == 2 * 7 * 4 * 60_965_224


@pytest.mark.shared
def test_bytes_of_a_prepared_photo_are_those_of_imagenet_s_samples():
    from tests.photos import imagenet_samples
    from train.shards import store_photo

    photos = imagenet_samples()[::20]
    sizes = [len(store_photo(path.read_bytes(), NET145.input).jpeg) for path in photos]
    assert sum(sizes) / len(sizes) / 256**2 == pytest.approx(cost.BYTES_PER_PIXEL, rel=0.35)


# The commands

PLANS = [
    {},
    {"machines": Machines(devices=2, columns=2)},
    {"machines": Machines(machines=4, devices=2, columns=2), "settings": ["recipe.epochs=2"]},
    {"preset_name": "one_gpu", "machines": Machines(machines=2, devices=1)},
    {"preset_name": "paper", "recipe_name": "paper", "device": "cpu"},
    {"preset_name": "caffe", "recipe_name": "modern", "data": "a folder/data"},
    {"preset_name": "mini", "recipe_name": "mini"},
]


def parsed(command):
    """The verb and the options of a printed command, as its own parser reads them."""
    words = shlex.split(command)
    if words[0] == "torchrun":
        read = get_args_parser().parse_args(words[1:])
        assert read.no_python
        assert read.training_script == "alexnet-train"
        group, words = main, read.training_script_args
    else:
        group = {"alexnet-train": main, "alexnet-export": export_main}[words.pop(0)]
    context = group.commands[words[0]].make_context(words[0], words[1:])
    return words[0], context.params


@pytest.mark.parametrize("fields", PLANS)
def test_every_printed_command_is_understood(fields):
    found = plan(**fields)
    verbs = []
    for step in found["commands"]:
        verb, given = parsed(step["command"])
        verbs.append(verb)
        if verb == "fit":
            run = run_config(
                given["preset_name"],
                recipe(given["recipe_name"]),
                classes=1000,
                seed=given["seed"],
                settings=given["settings"],
            )
            totals(run.config)  # its kernels fit its maps
            assert given["columns"] == min(found["columns"], run.network.columns)
            assert run.recipe.epochs == found["epochs"]
    assert verbs[:4] == ["prepare", "fit", "evaluate", "evaluate"]
    assert verbs[-3:] == ["figures", "onnx", "verify"]
    assert set(verbs) == {"prepare", "fit", "evaluate", "figures", "onnx", "verify"}


def test_commands_go_from_the_archives_to_the_tables():
    commands = plan(machines=Machines(machines=4, devices=2, columns=2))["commands"]
    assert commands[0]["command"] == "alexnet-train prepare imagenet/ runs/imagenet --size 256"
    # As in the README.
    assert commands[1]["command"] == (
        "torchrun --nnodes 4 --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint HOST "
        "--rdzv-id net145-0-1 --max-restarts 3 --no-python alexnet-train fit --preset net145 "
        "--recipe net145 --data runs/imagenet --out runs/net145-0 --seed 0 --device cuda "
        "--columns 2"
    )
    assert [step["everywhere"] for step in commands[:3]] == [False, True, False]
    errors = [step["errors"] for step in commands if step["errors"]]
    assert errors == [(40.7, 18.2), (38.1, 16.4), (42.0, 19.4), (41.1, 18.5)]
    averaged = next(s for s in commands if s["errors"] == (38.1, 16.4))
    _, given = parsed(averaged["command"])
    written = [parsed(s["command"])[1]["out"] for s in commands[:8] if " fit " in s["command"]]
    assert list(given["artifacts"]) == [out / "model.safetensors" for out in written]
    assert len(written) == 5


def test_other_trainings_get_no_number_that_was_published_of_net145():
    for fields in ({"settings": ["recipe.lr=0.02"]}, {"preset_name": "six_conv"}):
        assert not [step for step in plan(**fields)["commands"] if step["errors"]]
    fast = plan(settings=["recipe.dtype=bfloat16", "recipe.compiled=true"])["commands"]
    assert next(step["errors"] for step in fast if step["errors"]) == (40.7, 18.2)
    assert not [step for step in plan("mini", "mini")["commands"] if step["stage"] == "ablation"]


def test_the_variants_are_the_networks_of_the_logs():
    configs = {
        variant.name: run_config(
            variant.preset, recipe("net145"), classes=1000, settings=variant.settings
        )
        for variant in variants(preset("net145"))
    }
    whole = totals(preset("net145"))
    # docs/fidelity.md and the layer definitions of #145-half and #147.
    assert totals(configs["one_gpu"].config).parameters == 59_798_312
    plain = totals(configs["net145-plain-pooling"].config)
    assert (plain.parameters, plain.macs) == (60_965_224, 686_891_552)
    bare = configs["net145-no-lrn"]
    assert totals(bare.config) == whole
    assert {step for conv in bare.network.convs for step in conv.steps} == {"relu", "pool"}
    assert configs["net145-no-noise"].recipe.noise.coefficient == 0
    assert configs["net145-no-dropout"].network.dropout.rate == 0


# The command


def test_people_read_tables_and_commands():
    done = invoke("--preset=net145", "--recipe=net145", "--steps-per-second=10", "--machines=4")
    assert done.exit_code == 0, done.output
    assert "4 machine(s) with 2 device(s)" in done.stdout
    assert "Hours are a lower bound." in done.stdout
    assert "# evaluate: 40.7 % / 18.2 %, Table 2, 1 CNN\ntorchrun --nproc-per-node 2" in done.stdout
    assert "| before conv3 |" in done.stdout


def test_programs_read_one_object():
    options = ("--preset=net145", "--recipe=net170", "--steps-per-second=6", "--measured-on=2")
    done = invoke(*options, "--photos=1261406", "--json")
    found = json.loads(done.stdout)
    assert found["pace"]["devices"] == 2
    assert found["photos_per_second"] == 6 * 128
    assert found["steps"] == 95 * 9855  # of LSVRC-2010
    assert found["measurement"] is None
    assert "runs/net145-net170-0" in found["commands"][1]["command"]


def test_steps_can_be_measured_here():
    thin = [f"--set=network.convs.{index}.maps=8" for index in range(5)]
    thin += ["--set=network.fc6.units=16", "--set=network.fc7.units=16", "--set=recipe.batch=32"]
    done = invoke("--preset=mini", *thin, "--measure", "--device=cpu", "--seconds=0.3", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    both = found["measurement"]["photos_per_second"]["both"]["median"]
    assert found["measurement"]["batch"] == 16
    assert found["pace"]["steps_per_second"] == pytest.approx(both / 32)
    assert found["pace"]["prepared_per_second"] > 0
    assert found["columns"] == found["devices"] == 1


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, "--steps-per-second"),
        (["--steps-per-second=1", "--measure"], 2, "one of them"),
        (["--measure", "--measured-on=2"], 2, "--measured-on"),
        (["--steps-per-second=0"], 2, "--steps-per-second"),
        (["--steps-per-second=1", "--seconds=30"], 2, "without --measure: leave out --seconds."),
        (
            ["--steps-per-second=1", "--workers=0", "--measured-batch=4"],
            2,
            "leave out --measured-batch, --workers.",
        ),
        (["--steps-per-second=1", "--columns=3"], 1, "This network has 2 column(s)"),
        (["--steps-per-second=1", "--gpus-per-machine=3"], 1, "2 columns need a multiple of 2"),
        (["--steps-per-second=1", "--set=recipe.bacth=4"], 1, "bacth"),
    ],
)
def test_wrong_use_is_a_sentence(options, code, words):
    done = invoke("--preset=net145", *options)
    assert done.exit_code == code
    assert words in done.stderr
    assert done.stdout == ""
