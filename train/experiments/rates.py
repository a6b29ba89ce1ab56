"""What a text says of learning rates: those that were tried, and the cuts that take effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from train.recipes import recipe, stretched

MINI = recipe("mini")


def at_edge(rate: float, tried: Sequence[float]) -> bool:
    """Whether a rate is the lowest or the highest of several that were tried."""
    return len(tried) > 1 and rate in (min(tried), max(tried))


def edge(name: str, rate: float) -> str:
    """The warning that belongs to such a rate."""
    return (
        f"**The rate of {name}, {rate:g}, is at the end of those that were tried: one beyond it "
        "may be quicker.**"
    )


def cuts(epochs: int) -> str:
    """What happens to the rate of `mini`'s recipe when it is stretched to so many epochs.

    A cut may fall behind the last epoch, and is none then.
    """
    moved = stretched(MINI, epochs).schedule.cut_at
    inside = [str(cut) for cut in moved if cut <= epochs]
    if not inside:
        return "is not cut"
    words = f"is cut at the start of epoch{'s' * (len(inside) > 1)} {' and '.join(inside)}"
    return words + (" (the other cut would come after the end)" if len(inside) < len(moved) else "")


def trials_table(
    rates: Sequence[float],
    losses: Mapping[str, Mapping[str, float]],
    *,
    chosen: Mapping[str, float],
    titles: Mapping[str, str],
) -> str:
    """Losses by network and rate, those of the chosen rates bold.

    A loss that is missing after rates were chosen is that of a trial that diverged.
    """
    columns = [f"{rate:g}" for rate in rates]
    lines = [f"| network | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for name, found in losses.items():
        own = f"{chosen[name]:g}" if name in chosen else ""
        missing = "diverged" if chosen else "-"
        cells = [
            missing
            if lr not in found
            else f"**{found[lr]:.2f}**"
            if lr == own
            else f"{found[lr]:.2f}"
            for lr in columns
        ]
        lines.append(f"| {titles[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)
