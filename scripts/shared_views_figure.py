"""Draw docs/shared-views.svg: which outputs of the ten views are also the whole photo's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from alexnet.config import PRESETS, preset
from alexnet.console import sentences
from alexnet.files import check_output_file, write_text
from export.sharing import PLACES, Extent, Stage, sharing_of

UNIT = 4.0  # points of one output
GAP, MARGIN, LINE = 26.0, 24.0, 16.0
COMMON, OWN, WHOLE, INK = "#cfe3f5", "#e8893a", "#eef1f4", "#22303c"
FONT = "font-family='Helvetica, Arial, sans-serif'"


def rectangle(x: float, y: float, width: float, height: float, style: str) -> str:
    return f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' {style}/>"


def text(x: float, y: float, words: str, *, size: float = 11, anchor: str = "start") -> str:
    return (
        f"<text x='{x:g}' y='{y:g}' font-size='{size:g}' text-anchor='{anchor}' fill='{INK}' "
        f"{FONT}>{escape(words)}</text>"
    )


def whole(x: float, y: float, extent: Extent) -> Iterator[str]:
    """The whole photo's maps, with the outlines of the five views."""
    length = extent.length(whole=True)
    side = length * UNIT
    yield rectangle(x, y, side, side, f"fill='{WHOLE}' stroke='{INK}'")
    for down, across in PLACES.values():
        at = [extent.offset(place) * UNIT for place in (across, down)]
        size = extent.side * UNIT
        style = f"fill='none' stroke='{INK}' stroke-width='0.7' stroke-dasharray='3 2'"
        yield rectangle(x + at[0], y + at[1], size, size, style)
    yield text(x + side / 2, y + side + LINE, f"whole photo, {length} x {length}", anchor="middle")


def view(x: float, y: float, extent: Extent, place: str) -> Iterator[str]:
    """A view's maps: its own outputs, and those in common with the whole photo."""
    side = extent.side * UNIT
    (top, bottom), (left, right) = (extent.common(at) for at in PLACES[place])
    yield rectangle(x, y, side, side, f"fill='{OWN}'")
    width, height = (right - left) * UNIT, (bottom - top) * UNIT
    yield rectangle(x + left * UNIT, y + top * UNIT, width, height, f"fill='{COMMON}'")
    grid = "".join(
        f"M{x + i * UNIT:g},{y:g}v{side:g}M{x:g},{y + i * UNIT:g}h{side:g}"
        for i in range(extent.side + 1)
    )
    yield f"<path d='{grid}' stroke='white' stroke-width='0.4'/>"
    yield rectangle(x, y, side, side, f"fill='none' stroke='{INK}'")
    own = extent.side**2 - (bottom - top) * (right - left)
    yield text(x + side / 2, y + side + LINE, place.replace("_", " "), anchor="middle")
    words = f"{own} of {extent.side**2} its own"
    yield text(x + side / 2, y + side + 2 * LINE, words, size=10, anchor="middle")


def row(y: float, stage: Stage) -> tuple[list[str], float, float]:
    """A stage's picture; how far it reaches to the right, and down."""
    extent = stage.outputs
    names = f"{stage.layers[0].name} to {stage.layers[-1].name}"
    words = f"{names}: {100 * stage.work:.0f} % of the convolution's work is left"
    found = [text(MARGIN, y, words, size=13)]
    y += 12
    found += whole(MARGIN, y, extent)
    x = MARGIN + extent.length(whole=True) * UNIT + GAP
    for place in PLACES:
        found += view(x, y, extent, place)
        x += extent.side * UNIT + GAP
    return found, x - GAP, y + extent.length(whole=True) * UNIT + 2 * LINE


def figure(name: str) -> str:
    """The figure of a preset as SVG."""
    parts: list[str] = []
    right, y = 0.0, MARGIN + 6
    for stage in sharing_of(preset(name)).stages:
        found, width, y = row(y, stage)
        parts += found
        right, y = max(right, width), y + GAP
    keys = ((COMMON, "as in the whole photo"), (OWN, "the view's own: its padding takes part"))
    x = MARGIN
    for colour, words in keys:
        parts += [rectangle(x, y - 10, 11, 11, f"fill='{colour}'"), text(x + 17, y, words)]
        x += 170
    width, height = right + MARGIN, y + MARGIN
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:g} {height:g}' "
        f"width='{width:g}' height='{height:g}'>"
    )
    ground = rectangle(0, 0, width, height, "fill='white'")
    return "\n".join([head, ground, *parts, "</svg>"]) + "\n"


def main() -> int:
    """Write the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="paper")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/shared-views.svg"))
    given = parser.parse_args()
    check_output_file(given.output)
    if not sharing_of(preset(given.preset)).stages:
        print(sharing_of(preset(given.preset)).sentence, file=sys.stderr)
        return 1
    write_text(given.output, figure(given.preset))
    return 0


if __name__ == "__main__":
    with sentences("shared_views_figure"):
        sys.exit(main())
