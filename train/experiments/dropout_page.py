"""Figure and text of training with and without dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alexnet.figures import COLOURS, new_figure
from train.experiments.intervals import binomial_half
from train.experiments.rates import cuts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS = {"with": ("with dropout", COLOURS[0]), "without": ("without dropout", COLOURS[1])}
Run = dict[str, Any]


def draw(result: dict[str, Any]) -> Figure:
    """Errors and validation losses by epoch."""
    figure = new_figure(10.5, 5.0)
    errors, losses = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
    for kind, (title, colour) in _LOOKS.items():
        for number, run in enumerate(result["found"]["runs"][kind].values()):
            shown = title if number == 0 else None
            _errors(errors, run, colour=colour, title=shown)
            epochs = range(1, len(run["val_loss"]) + 1)
            losses.plot(epochs, run["val_loss"], color=colour, lw=1.8, label=shown)
    errors.set_title("Error")
    errors.set_ylabel("top-1 error, centre view, %")
    errors.set_ylim(0, 100)
    if errors.lines:
        shown = errors.get_legend_handles_labels()
        figure.legend(*shown, loc="outside lower center", ncols=2, handlelength=2.6)
        losses.legend(loc="upper right")
    losses.set_title("Loss on validation photos")
    losses.set_ylabel("nats, centre view")
    for axes in (errors, losses):
        axes.set_xlabel("epoch")
        axes.locator_params(axis="x", integer=True)
    return figure


def _errors(axes: Axes, run: Run, *, colour: str, title: str | None) -> None:
    epochs = range(1, len(run["val_error"]) + 1)
    lines = (("val_error", "-", "validation photos"), ("train_error", "--", "training, as it ran"))
    for name, line, of in lines:
        label = title and f"{title}: {of}"
        axes.plot(epochs, [100 * one for one in run[name]], line, color=colour, lw=1.8, label=label)
    learnt = 100 * run["on_training_photos"]["top1_error"]
    label = title and f"{title}: its training photos, at the end"
    axes.plot([len(epochs)], [learnt], "o", color=colour, markersize=6, label=label, clip_on=False)


def text(result: dict[str, Any]) -> str:
    """What each network makes of photos that it learnt from and of others, and what that says."""
    found, settings = result["found"], result["settings"]
    parts = [_introduction(result), _table(found, settings)]
    pairs = _pairs(found)
    if pairs:
        parts += [_verdict(pairs, photos=result["data"]["photos"]["val"]), _pace(pairs)]
    parts.append(_method(settings))
    return "\n\n".join(parts)


def _pairs(found: dict[str, Any]) -> list[tuple[str, Run, Run]]:
    """Seed, run with dropout and run without, of the seeds that have both."""
    runs = found["runs"]
    return [
        (seed, run, runs["without"][seed])
        for seed, run in runs["with"].items()
        if seed in runs["without"]
    ]


def _introduction(result: dict[str, Any]) -> str:
    settings, data = result["settings"], result["data"]
    seeds = len(settings["seeds"])
    return (
        "Without dropout in its first two fully connected layers the paper's network overfits "
        "badly, and with it training takes about twice as many iterations, says section 4.2. Here "
        f"`mini` is trained for {settings['epochs']} epochs with it and without, "
        f"{seeds} seed{'s' * (seeds > 1)}, on {data['photos']['train']:,} photos of "
        f"{data['classes']} classes: longer than in the ablations, so that overfitting has time to "
        "show."
    )


def _table(found: dict[str, Any], settings: dict[str, Any]) -> str:
    lines = [
        "| network, seed | its training photos | validation photos | gap, points | lowest "
        "validation error, after epoch | ten views, top-1 / top-5 |",
        "| --- |" + " ---: |" * 5,
    ]
    for kind, (title, _) in _LOOKS.items():
        for seed in map(str, settings["seeds"]):
            run = found["runs"][kind].get(seed)
            if run is None:
                lines.append(f"| {title}, {seed} | to come |" + " |" * 4)
                continue
            learnt, last = run["on_training_photos"]["top1_error"], run["val_error"][-1]
            lowest, epoch = _lowest(run)
            ten = run["ten"]
            lines.append(
                f"| {title}, {seed} | {learnt:.1%} | {last:.1%} | {100 * (last - learnt):.1f} | "
                f"{lowest:.1%}, {epoch} | {ten['top1']:.1%} / {ten['top5']:.1%} |"
            )
    return "\n".join(lines)


def _lowest(run: Run) -> tuple[float, int]:
    """The lowest validation error, and the epoch after which it was first there."""
    lowest = min(run["val_error"])
    return lowest, run["val_error"].index(lowest) + 1


def _verdict(pairs: list[tuple[str, Run, Run]], *, photos: int) -> str:
    gaps = [tuple(_gap(run) for run in (plain, bare)) for _, plain, bare in pairs]
    more = all(bare > 2 * max(plain, 0.0) for plain, bare in gaps)
    sentences = [
        "Without dropout the error on photos that the network has learnt from is far below that "
        "on others, with dropout it is not: that is the overfitting of which the paper speaks."
        if more
        else "The gap between photos that were learnt and others does not grow to twice its size "
        "without dropout: what the paper says of overfitting is not seen here."
    ]
    ahead = [bare["ten"]["top1"] - plain["ten"]["top1"] for _, plain, bare in pairs]
    share = max(run["ten"]["top1"] for _, *both in pairs for run in both)
    words = ", ".join(f"{100 * one:+.1f}" for one in ahead)
    still = ""
    if max(ahead) < 0:
        still = (
            " So far the network without it is the better one all the same: it learns faster, and "
            "what it loses by overfitting has not caught up with that in these epochs."
        )
    sentences.append(
        f"Without dropout the top-1 error with ten views is different by {words} points (the "
        f"sample of {photos:,} validation photos alone leaves each error uncertain by "
        f"±{100 * binomial_half(share, photos):.1f}).{still}"
    )
    ends = "; ".join(
        f"{bare['val_loss'][-1]:.2f} nats without dropout and {plain['val_loss'][-1]:.2f} with it"
        for _, plain, bare in pairs
    )
    sentences.append(f"The validation losses end at {ends}.")
    rise = [bare["val_loss"][-1] - min(bare["val_loss"]) for _, _, bare in pairs]
    if min(rise) > 0.05:
        words = ", ".join(f"{one:.2f}" for one in rise)
        sentences.append(
            f"Its validation loss rises again by {words} nats from its lowest: the network grows "
            "surer of what it gets wrong."
        )
    return " ".join(sentences)


def _gap(run: Run) -> float:
    return float(run["val_error"][-1] - run["on_training_photos"]["top1_error"])


def _pace(pairs: list[tuple[str, Run, Run]]) -> str:
    """How much longer it takes with dropout to get as far as without."""
    words = []
    for seed, plain, bare in pairs:
        lowest, epoch = _lowest(bare)
        same = next((at for at, one in enumerate(plain["val_error"], 1) if one <= lowest), None)
        reached = (
            f"gets there after {same}, {same / epoch:.1f} times as many"
            if same is not None
            else "does not get there"
        )
        words.append(
            f"without dropout the lowest validation error is there after {epoch} epochs, and the "
            f"network with dropout {reached} (seed {seed})"
        )
    return (
        f"As for iterations, {'; '.join(words)}. The two have rates of their own, of which dropout "
        "takes the higher one, and cuts at the same epochs, so that this is one way to count."
    )


def _method(settings: dict[str, Any]) -> str:
    return (
        f"`mini`'s recipe shortened: the rate {cuts(settings['epochs'])}. Without "
        f"dropout nothing is halved in use, and the rate is {settings['lr']:g} in place of 0.01, "
        "at which all units were closed for good after a hundred steps: of the rates that the "
        "ablations tried it had the lowest loss after an epoch, and it is the lowest of them, so a "
        "lower one could be better still. Errors of photos that were learnt are measured like "
        "those of the others, on the finished network with the centre view; as it ran, the "
        "training error is of random crops with noise, and half of the units where there is "
        "dropout."
    )
