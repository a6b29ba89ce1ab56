"""How the project's figures look, and how they are written: PNG or SVG by the file's ending.

For the rooms only: needs matplotlib, which the extra `plots` installs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet.errors import AlexNetError, optional_import
from alexnet.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg")
# Okabe and Ito's colours, which people of any colour vision can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLE: Any = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.hashsalt": "alexnet",  # the same figure is the same file
    "svg.fonttype": "none",  # text stays text, which can be searched and read aloud
}


def check_figure_file(path: Path) -> None:
    """Find out before the work for a figure, rather than after it, that it could not be written.

    Raises:
        AlexNetError: a file of an unknown kind, or matplotlib is not installed.
    """
    if path.suffix.lower() not in ENDINGS:
        raise AlexNetError(f"A plot is a {' or '.join(ENDINGS)} file, and {path} is not.")
    optional_import("matplotlib", extra="plots")


@contextmanager
def styled() -> Iterator[None]:
    """Figures that are made and written inside look alike.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    mpl: Any = optional_import("matplotlib", extra="plots")
    with mpl.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that needs no screen and leaves room for its texts.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    optional_import("matplotlib", extra="plots")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(h_pad=0.12, hspace=0.04)
    figure = Figure(figsize=(width, height), layout=engine)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure into `path`, atomically and always as the same bytes.

    Raises:
        OSError: the file can't be written.
    """
    ending = path.suffix[1:].lower()
    with atomic_path(path) as temporary:
        figure.savefig(
            temporary,
            format=ending,
            dpi=150,
            bbox_inches="tight",
            metadata={"Date": None} if ending == "svg" else None,
        )
