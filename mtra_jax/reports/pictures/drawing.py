"""Pictures in one style -> PNG and PDF files.

Lines differ in dash, marker and brightness, so that a print in grey can be read.
matplotlib is the extra `plots`: it is imported when a figure is drawn.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtra_jax import files
from mtra_jax.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,  # TrueType, embedded; journals refuse type 3
    "ps.fonttype": 42,
    "savefig.dpi": 200,
}
# From dark to light, also in grey.
COLOURS = ("#000000", "#00468b", "#b2182b", "#1b9e77", "#e08214", "#8fb7e0")
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
DIRECTORY = "figures"
"""That of the pictures of a run or a study, within its own."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
PANEL = (2.3, 1.9)
"""Width and height of a panel in inches."""
COLUMNS = 3
"""Panels side by side at most."""


def save(figure: "Figure", path: Path) -> tuple[Path, Path]:
    """Writes `path` with the suffixes .png and .pdf, and returns both names.

    Raises:
      OSError: a file cannot be written.
    """
    with style():
        # Once: drawing again would move the parts a little further.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    written = []
    for kind, metadata in (
        ("png", {"Software": None}),
        ("pdf", {"CreationDate": None}),
    ):
        target = path.with_name(f"{path.name}.{kind}")
        with style(), files.replacing(target) as temporary:
            figure.savefig(temporary, format=kind, metadata=metadata)
        written.append(target)
    return written[0], written[1]


def save_all(figures: Mapping[str, "Figure"], directory: Path) -> list[Path]:
    """Saves each figure by its name in `directory`, which is made; returns all paths.

    Raises:
      OSError: a file cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for name, figure in figures.items():
        paths += save(figure, directory / name)
    return paths


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The style, while a figure is made or written.

    Raises:
      InputError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise InputError(
            "figures need matplotlib, which is not installed; expected pip install "
            "matplotlib"
        ) from error
    with matplotlib.rc_context(STYLE):
        yield


def panels(
    count: int, size: tuple[float, float] = PANEL
) -> tuple["Figure", list["Axes"]]:
    """A figure with `count` panels of `size`, drawn by Agg without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(count, COLUMNS)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows))
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def look(place: int) -> dict[str, Any]:
    """Colour, dash and marker of the line at `place`."""
    # Each round of colours starts with another dash: a seventh line is not the first again.
    dash = place + place // len(COLOURS)
    return {
        "color": COLOURS[place % len(COLOURS)],
        "linestyle": DASHES[dash % len(DASHES)],
        "marker": MARKERS[place % len(MARKERS)],
    }
