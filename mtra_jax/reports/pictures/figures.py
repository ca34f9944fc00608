"""Figures of runs and analyses -> matplotlib figures, for `drawing.save`.

Every function raises InputError if matplotlib, the extra `plots`, is not installed.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtra_jax.reports.pictures import drawing
from mtra_jax.reports.statistics.ranks import ALPHA, Ranks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAP = "cividis"
"""Its brightness grows from end to end."""
NUMBERED = 6
"""Points of a line with a number."""
BINS = 30
"""Means of training losses along a curve."""


def learning_curves(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], titles: Mapping[str, str]
) -> "Figure":
    """Training and validation loss ℓ_Task over the steps, a panel for each task.

    `runs`: the lines of each run's metrics.jsonl. `titles`: of the tasks, by name. The
    training loss is a mean over `BINS` parts of the run.
    """
    return _curves(runs, titles, ("task", "loss"), "loss")


def bound_curves(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], titles: Mapping[str, str]
) -> "Figure":
    """The bound I on the information of z about the labels, as `learning_curves`.

    A dotted line is the ceiling H(Y) of the training labels, which is known for
    classification. A run without a bound is left out.
    """
    figure = _curves(runs, titles, ("mi",), "bound I, nats")
    lines = [line for of_run in runs.values() for line in of_run]
    for axes, task in zip(figure.axes, titles, strict=False):
        _, ceilings = _series(lines, f"ceiling/{task}")
        if len(ceilings):
            axes.axhline(ceilings[0], color="black", linewidth=0.8, linestyle=":")
    return figure


def _curves(
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    titles: Mapping[str, str],
    terms: Sequence[str],
    label: str,
) -> "Figure":
    """The first of `terms` that a run has, in training and validation."""
    starts = tuple(f"{term}/" for term in terms)
    without = [
        name
        for name, lines in runs.items()
        if lines and not any(key.startswith(starts) for line in lines for key in line)
    ]
    with drawing.style():
        figure, panels = drawing.panels(len(titles))
        for axes, (task, title) in zip(panels, titles.items(), strict=True):
            for place, (name, lines) in enumerate(runs.items()):
                if name in without:
                    continue
                look = drawing.look(place)  # the same for a run in all pictures
                steps, values = _binned(*_first_series(lines, "", terms, task))
                axes.plot(steps, values, color=look["color"], linewidth=0.6, alpha=0.6)
                steps, values = _first_series(lines, "validation/", terms, task)
                axes.plot(steps, values, label=name, **look)
            axes.set(title=title, xlabel="step", ylabel=label)
        _legend(figure, panels[0], "marks: validation; thin: training")
        return figure


def conflict_heat_map(cosines: np.ndarray, names: Sequence[str]) -> "Figure":
    """Cosines [T, T] of the tasks' gradients with their numbers; NaN is left empty."""
    return _heat_map(cosines, names, names, "cosine of gradients", limits=(-1.0, 1.0))


def gradient_curves(
    lines: Sequence[Mapping[str, Any]], titles: Mapping[str, str]
) -> "Figure":
    """Share of conflicts, norms of the tasks' gradients and weights over the steps.

    `lines`: those of a run's diagnostics.jsonl. `titles`: of the tasks, by name.
    """
    with drawing.style():
        figure, panels = drawing.panels(3)
        for axes, key, label in zip(
            panels,
            ("conflict_share", "norm", "weight"),
            ("conflicting pairs", "norm of gradient", "weight"),
            strict=True,
        ):
            names = {"": ""} if key == "conflict_share" else titles
            for place, (task, title) in enumerate(names.items()):
                steps, values = _series(lines, f"{key}/{task}".rstrip("/"))
                axes.plot(steps, values, label=title, **drawing.look(place))
            axes.set(xlabel="step", ylabel=label)
        panels[0].set_ylim(-0.05, 1.05)
        _legend(figure, panels[1], "")
        return figure


def option_grid(
    figures: np.ndarray,
    rows: tuple[str, Sequence[Any]],
    columns: tuple[str, Sequence[Any]],
    measure: str = "Avg.",
) -> "Figure":
    """Figures [R, C] for each pair of values of two options, the largest in a frame.

    `rows` and `columns`: the name of the option, and its values.
    """
    names, others = ([str(value) for value in part[1]] for part in (rows, columns))
    figure = _heat_map(figures, names, others, measure)
    axes = figure.axes[0]
    axes.set(ylabel=rows[0], xlabel=columns[0])
    if np.isfinite(figures).any():
        with drawing.style():
            from matplotlib.patches import Rectangle

            row, column = np.unravel_index(np.nanargmax(figures), figures.shape)
            corner = (float(column) - 0.5, float(row) - 0.5)
            axes.add_patch(
                Rectangle(corner, 1, 1, fill=False, edgecolor="#b2182b", linewidth=2)
            )
    return figure


def robustness_curves(
    sizes: Sequence[float],
    curves: Mapping[str, np.ndarray],
    noise: str = "size of the noise (L2)",
    measure: str = "Avg.",
) -> "Figure":
    """The mean over seeds of each method, and a band of one standard deviation.

    `curves`: [seeds, sizes] by name; one seed has no band.
    """
    with drawing.style():
        figure, (axes,) = drawing.panels(1, (3.4, 2.4))
        for place, (name, values) in enumerate(curves.items()):
            look = drawing.look(place)
            values = np.atleast_2d(values)
            mean = values.mean(axis=0)
            axes.plot(sizes, mean, label=name, **look)
            if len(values) > 1:
                deviation = values.std(axis=0, ddof=1)
                band = (mean - deviation, mean + deviation)
                axes.fill_between(
                    sizes, *band, color=look["color"], alpha=0.15, linewidth=0
                )
        axes.set(xlabel=noise, ylabel=measure)
        if all(float(size).is_integer() for size in sizes):  # such as epochs
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        return figure


def plane(
    paths: Mapping[str, np.ndarray], epochs: Sequence[str], across: str, upwards: str
) -> "Figure":
    """The way of each method through a plane; some points have the number of the epoch.

    `paths`: [epochs, 2] by name; a point that is not finite is left out.

    Source: InfoMTL, figure 2.
    """
    every = math.ceil(len(epochs) / NUMBERED)
    with drawing.style():
        figure, (axes,) = drawing.panels(1, (3.4, 2.4))
        for place, (name, points) in enumerate(paths.items()):
            look = drawing.look(place)
            axes.plot(*points.T, label=name, **look)
            for epoch, point in [*zip(epochs, points, strict=True)][::-every]:
                if np.isfinite(point).all():
                    offset = {"xytext": (3, 3), "textcoords": "offset points"}
                    axes.annotate(epoch, point, color=look["color"], **offset)
        axes.set(xlabel=across, ylabel=upwards)
        axes.legend()
        return figure


def critical_differences(ranks: Ranks) -> "Figure":
    """Mean ranks on a line, best left; a bar joins methods that are not told apart.

    Source: Demšar 2006, figure 1.
    """
    order = sorted(range(len(ranks.names)), key=lambda place: ranks.means[place])
    means = [ranks.means[place] for place in order]
    groups = _groups(means, ranks.critical_difference)
    half = math.ceil(len(order) / 2)
    with drawing.style():
        figure, (axes,) = drawing.panels(
            1, (5.0, 1.0 + 0.16 * half + 0.1 * len(groups))
        )
        last = len(order)
        axes.hlines(0, 1, last, color="0", linewidth=1)
        axes.vlines(range(1, last + 1), 0, 0.3, color="0", linewidth=1)
        for rank in range(1, last + 1):
            axes.text(rank, 0.5, str(rank), ha="center", va="bottom")
        depth = 0.5 * (len(groups) + 1)
        for place, mean in enumerate(means):
            is_left = place < half
            level = -depth - (place if is_left else last - 1 - place)
            end, side = (0.8, "right") if is_left else (last + 0.2, "left")
            axes.plot([mean, mean, end], [0, level, level], color="0.4", linewidth=0.8)
            name = f" {ranks.names[order[place]]} ({mean:.1f}) "
            axes.text(end, level, name, ha=side, va="center")
        for number, (first, final) in enumerate(groups):
            level = -0.5 * (number + 1)
            axes.hlines(
                level, means[first] - 0.05, means[final] + 0.05, "0", linewidth=3
            )
        end = 1 + ranks.critical_difference
        axes.plot([1, end], [2, 2], color="0", marker="|", linewidth=1)
        label = f"critical difference {ranks.critical_difference:.2f} (p = {ALPHA})"
        axes.text(1, 2.3, label, ha="left", va="bottom")
        # The names stand within the axes, which the layout need not widen.
        margin = (last - 1) / 2 + 0.2
        axes.set(xlim=(1 - margin, last + margin), ylim=(-depth - half, 3.5))
        axes.set_axis_off()
        return figure


def representations(
    points: np.ndarray,
    groupings: Mapping[str, Sequence[str | None]],
    shares: Sequence[float] | None = None,
) -> "Figure":
    """Points [N, 2], a panel for each grouping, such as the tasks or a task's labels.

    `groupings`: the group of each point by the panel's title; None for a point without
    one, drawn in light grey. `shares`: of the variance, for the axes.
    """
    with drawing.style():
        figure, panels = drawing.panels(len(groupings), (2.8, 2.8))
        figure.set_layout_engine("tight")  # counts the legends below the panels
        for axes, (title, groups) in zip(panels, groupings.items(), strict=True):
            names = np.array(["" if group is None else group for group in groups])
            rest = points[names == ""]
            axes.scatter(*rest.T, s=4, color="0.88", linewidths=0)
            for place, name in enumerate(dict.fromkeys(filter(None, groups))):
                look = drawing.look(place)
                axes.scatter(
                    *points[names == name].T,
                    s=9,
                    marker=look["marker"],
                    facecolors="none" if place % 2 else look["color"],
                    edgecolors=look["color"],
                    linewidths=0.6,
                    label=name,
                )
            labels = [f"component {number}" for number in (1, 2)]
            if shares is not None:
                labels = [
                    f"{label} ({100 * share:.0f} %)"
                    for label, share in zip(labels, shares, strict=True)
                ]
            axes.set(title=title, xlabel=labels[0], ylabel=labels[1])
            # Below the panel, and no wider.
            place_below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2)}
            axes.legend(**place_below, ncols=2, columnspacing=1.0, handletextpad=0.1)
        return figure


def _legend(figure: "Figure", axes: "Axes", title: str) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, title=title, loc="outside lower center", ncols=4)


def _heat_map(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    measure: str,
    limits: tuple[float | None, float | None] = (None, None),
) -> "Figure":
    with drawing.style():
        size = (1.6 + 0.55 * len(columns), 0.9 + 0.4 * len(rows))
        figure, (axes,) = drawing.panels(1, size)
        low, high = limits
        image = axes.imshow(values, cmap=MAP, vmin=low, vmax=high, aspect="auto")
        axes.grid(visible=False)
        turn = {"rotation": 30, "ha": "right"} if max(map(len, columns)) > 6 else {}
        axes.set_xticks(range(len(columns)), columns, **turn)
        axes.set_yticks(range(len(rows)), rows)
        for (row, column), value in np.ndenumerate(values):
            if math.isfinite(value):
                shade = "0" if image.norm(value) > 0.5 else "1"
                axes.text(
                    column, row, f"{value:.2f}", ha="center", va="center", color=shade
                )
        figure.colorbar(image, label=measure)
        return figure


def _series(
    lines: Sequence[Mapping[str, Any]], key: str
) -> tuple[np.ndarray, np.ndarray]:
    """The steps and figures of the lines that have `key`."""
    pairs = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
    steps, figures = np.array(pairs, np.float64).reshape(-1, 2).T
    return steps, figures


def _first_series(
    lines: Sequence[Mapping[str, Any]], split: str, terms: Sequence[str], task: str
) -> tuple[np.ndarray, np.ndarray]:
    """`_series` of the first of `terms` that the lines have."""
    series = [_series(lines, f"{split}{term}/{task}") for term in terms]
    return next((pair for pair in series if len(pair[0])), series[-1])


def _binned(steps: np.ndarray, figures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over at most `BINS` parts of equal length."""
    parts = min(BINS, len(steps))
    if not parts:
        return steps, figures
    means = [
        np.array([part.mean() for part in np.array_split(values, parts)])
        for values in (steps, figures)
    ]
    return means[0], means[1]


def _groups(means: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """First and last of the longest runs of sorted `means` within `difference`."""
    groups: list[tuple[int, int]] = []
    for first, mean in enumerate(means):
        final = max(i for i, other in enumerate(means) if other - mean < difference)
        if final > first and (not groups or final > groups[-1][1]):
            groups.append((first, final))
    return groups
