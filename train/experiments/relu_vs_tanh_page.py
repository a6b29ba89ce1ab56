"""Figure and text of ReLU against tanh."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from alexnet.figures import COLOURS, new_figure
from train.experiments.cifar_photos import BATCH, minibatches
from train.experiments.rates import at_edge, edge
from train.experiments.relu_vs_tanh_races import races

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMES = {"relu": "ReLU", "tanh": "tanh"}
_LINES = {"relu": ("-", COLOURS[0]), "tanh": ("--", COLOURS[1])}
_NETS = {
    "a": "net A (cuda-convnet's `layers-19pct`: three convolutional layers and a fully connected "
    "one)",
    "b": "net B (cuda-convnet's `layers-conv-local-13pct`: two convolutional layers, two local "
    "ones and a fully connected one)",
}


def draw(result: dict[str, Any]) -> Figure:
    """Running training error by epochs, a panel for each net: what was chosen, with every seed.

    Rates that lost the race are drawn faintly.
    """
    nets = result["found"]["nets"]
    figure = new_figure(7.2 if len(nets) == 1 else 10.5, 4.2)
    for axes, (name, net) in zip(
        figure.subplots(1, len(nets), squeeze=False)[0], nets.items(), strict=True
    ):
        _panel(axes, net, result["settings"])
        if len(nets) > 1:
            axes.set_title(f"Net {name.upper()}")
    return figure


def _panel(axes: Axes, net: dict[str, Any], settings: dict[str, Any]) -> None:
    target = settings["target"]
    for kind, (line, colour) in _LINES.items():
        for race in net[kind]["races"]:
            for run in race["candidates"]:
                _curve(axes, run, "-", color=colour, alpha=0.18, linewidth=0.8)
        label = _NAMES[kind] if net[kind]["chosen"] else f"{_NAMES[kind]} (the race goes on)"
        bold = _middle_seed(net[kind], settings["max_epochs"])
        for run in net[kind]["seeds"]:
            look = {"linewidth": 2.0} if run["seed"] == bold else {"linewidth": 0.8, "alpha": 0.6}
            _curve(axes, run, line, color=colour, **look)
        axes.plot([], [], line, color=colour, linewidth=2.0, label=label)
    axes.axhline(target, color="black", linewidth=0.8, linestyle=":")
    axes.annotate(
        f"{target:.0%} training error",
        (0.5, target),
        xycoords=("axes fraction", "data"),
        xytext=(0, -4),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=8.5,
    )
    axes.plot([], [], color="grey", alpha=0.4, linewidth=0.8, label="other rates")
    for kind, (_, colour) in _LINES.items():
        middle = _median(net[kind], settings["max_epochs"])
        if middle is not None and not _missed(net[kind]):
            axes.plot([middle], [target], "o", color=colour, markersize=5)
            axes.annotate(
                f"epoch {middle:.1f}",
                (middle, target),
                xytext=(6, 7),
                textcoords="offset points",
                color=colour,
            )
    axes.set_xlabel("Epochs")
    axes.locator_params(axis="x", integer=True)
    axes.set_ylabel("Training error")
    axes.set_ylim(0, 0.9)
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.legend(loc="upper right")


def _curve(axes: Axes, run: dict[str, Any], line: str, **look: Any) -> None:
    axes.plot(range(1, len(run["errors"]) + 1), run["errors"], line, **look)


def text(result: dict[str, Any]) -> str:
    """What was seen, beside the paper's figure; how it was measured; what was tried."""
    settings, nets = result["settings"], result["found"]["nets"]
    parts = []
    for name, net in nets.items():
        parts += [_finding(name, net, settings), _chosen_table(net, settings)]
        for kind, title in _NAMES.items():
            rate = (net[kind]["chosen"] or {"rate": None})["rate"]
            if rate is not None and at_edge(rate, settings["rates"]):
                parts.append(edge(title, rate))
    parts.append(_method(settings, result["data"]["photos"]["train"]))
    for name, net in nets.items():
        parts += races(name, net, settings)
    return "\n\n".join(parts)


def _finding(name: str, net: dict[str, Any], settings: dict[str, Any]) -> str:
    if not all(net[kind]["chosen"] for kind in _NAMES):
        lost = [
            _NAMES[kind]
            for kind in _NAMES
            if not net[kind]["chosen"] and all(race["over"] for race in net[kind]["races"])
        ]
        if lost:
            return f"No rate trained {' or '.join(lost)} in {_NETS[name]}: there is no ratio."
        return f"The races between rates in {_NETS[name]} go on: there is no ratio yet."
    most = settings["max_epochs"]
    relu, tanh = (_median(net[kind], most) for kind in ("relu", "tanh"))
    if relu is None or tanh is None:
        return f"The trainings of {_NETS[name]} have only begun: there is no ratio yet."
    if _missed(net["relu"]):
        return (
            f"ReLUs in {_NETS[name]} did not reach {settings['target']:.0%} training error in "
            f"{most} epochs with every seed: there is no ratio."
        )
    ratio = tanh / relu
    by_seed = _ratios(net, most)
    bound = "at least " if _missed(net["tanh"]) else ""
    claim = (
        "The claim holds here"
        if ratio >= 2
        else "**That is less than twice, so the paper's claim is not confirmed by this network**"
    )
    spread = f" ({min(by_seed):.1f} to {max(by_seed):.1f} by seed)" if len(by_seed) > 1 else ""
    words = (
        f"In {_NETS[name]} tanh took {bound}**{ratio:.1f} times** as many epochs as ReLUs to reach "
        f"{settings['target']:.0%} training error{spread}; the paper's Figure 1 shows about six "
        f"times as many, for a four-layer network that it does not name. {claim}."
    )
    if bound:
        words += f" Not every tanh got there within {most} epochs, which are counted for it."
    return words


def _chosen_table(net: dict[str, Any], settings: dict[str, Any]) -> str:
    rows = [
        "| | rate | conv1's first std | seeds | "
        f"epochs to {settings['target']:.0%}, median | least to most | "
        "paper, as others read its plot |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind, paper in (("relu", "about 6"), ("tanh", "about 36")):
        found = net[kind]
        if not found["chosen"]:
            rows.append(f"| {_NAMES[kind]} | to come | | | | | {paper} |")
            continue
        times = [run["crossing"] for run in found["seeds"] if _counts(run)]
        shown = [settings["max_epochs"] if at is None else at for at in times]
        median = _epochs(_median(found, settings["max_epochs"]), missed=_missed(found))
        spread = f"{min(shown):.1f} to {max(shown):.1f}" if shown else ""
        rows.append(
            f"| {_NAMES[kind]} | {found['chosen']['rate']:g} | {found['chosen']['first_std']:g} | "
            f"{len(times)} | {median} | {spread} | {paper} |"
        )
    return "\n".join(rows)


def _method(settings: dict[str, Any], photos: int) -> str:
    missing = [words for name, words in _NETS.items() if name not in settings["nets"]]
    not_run = f" {missing[0][0].upper()}{missing[0][1:]} was not run." if missing else ""
    return (
        "Solid lines are ReLUs and dashed ones tanh(x), a line a seed, the one in the middle bold. "
        "The error is the running "
        "one of each epoch's minibatches, taken before the update that each of them leads to, and "
        f"drawn at the epoch's end; {settings['target']:.0%} is crossed on the straight line "
        "between two epochs. As in cuda-convnet: whole photos on a scale of 0 to 255 less the mean "
        f"of every pixel, {len(minibatches(photos))} minibatches of at most {BATCH} in the same "
        "order in every epoch, momentum 0.9, biases at twice the weights' rate. As the paper says: "
        "no regularisation of any kind, and a rate of its own for each nonlinearity. Our own "
        "choices: the network, constant rates, first weights that are the same for both "
        "nonlinearities, the order of the photos (drawn once), and photos stored as JPEG of "
        f"quality 95.{not_run}"
    )


def _counts(run: dict[str, Any]) -> bool:
    """Whether a seed's time is known, be it that the target was not reached."""
    return run["finished"] or run["crossing"] is not None


def _missed(found: dict[str, Any]) -> bool:
    return any(run["finished"] and run["crossing"] is None for run in found["seeds"])


def _median(found: dict[str, Any], most: int) -> float | None:
    times = _times(found, most)
    return statistics.median(times.values()) if times else None


def _middle_seed(found: dict[str, Any], most: int) -> int | None:
    """The seed of the median, and of two in the middle the quicker one's."""
    times = _times(found, most)
    return sorted(times, key=lambda seed: times[seed])[(len(times) - 1) // 2] if times else None


def _times(found: dict[str, Any], most: int) -> dict[int, float]:
    """By seed; one that never crossed counts with the longest training."""
    return {
        run["seed"]: most if run["crossing"] is None else run["crossing"]
        for run in found["seeds"]
        if _counts(run)
    }


def _ratios(net: dict[str, Any], most: int) -> list[float]:
    """Of the two trainings that began with the same weights."""
    relu, tanh = (_times(net[kind], most) for kind in ("relu", "tanh"))
    return [tanh[seed] / relu[seed] for seed in relu if seed in tanh]


def _epochs(at: float | None, *, missed: bool) -> str:
    if at is None:
        return ""
    return f"more than {at:.1f}" if missed else f"{at:.1f}"
