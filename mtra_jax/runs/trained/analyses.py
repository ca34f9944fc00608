"""A finished run and the name of an analysis -> figures, kept in a file beside the run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtra_jax import files
from mtra_jax.analysis import (
    alignment,
    clusters,
    conflicts,
    information,
    information_plane,
    robustness,
    uniformity,
)
from mtra_jax.data.splits import readout
from mtra_jax.errors import InputError, shown
from mtra_jax.runs.directory import layout
from mtra_jax.runs.trained import attacks, retraining
from mtra_jax.runs.trained.finished_run import Trained
from mtra_jax.tasks import Task
from mtra_jax.types import Params

FORMAT = 4
"""Changes with what the figures of an analysis are."""
Values = dict[str, dict[str, float]]
"""Figures by the title and the name of a column."""
FEWEST_TEXTS = 4
"""In a split of a task: two for a critic of the information plane, two to measure it."""
SIZES = (0.5, 1.0, 2.0, 5.0, 10.0)
"""L2 norms of adversarial noise on the word embeddings, besides 0."""
RANDOM_SIZES = (10.0, 50.0, 100.0, 200.0, 500.0)
"""Those of random noise: hardly any of its millions of numbers are along the gradient."""
ROWS = 4
"""Passes of `Trained.rows`: z, its two views, the outputs."""
PGD_STEPS = 10
FORWARD_AND_BACKWARD = 3
"""Forward passes that a forward and a backward pass take as long as."""
GRADIENT_BY_INPUTS = 2
"""The same of a gradient with respect to the word embeddings alone."""
FGM_PASSES = 1 + GRADIENT_BY_INPUTS
PGD_PASSES = 1 + GRADIENT_BY_INPUTS * PGD_STEPS


class Analysis(NamedTuple):
    """How an analysis is done, and (format, 1, 0 or -1 for better) of its columns.

    The key "" of `forms` is that of all other columns. `note`: what the figures are, below
    the table. With `is_of_epochs` the analysis of every epoch is a column of its number.
    `passes`: forward passes over each text, by split; a backward pass counts as two. Those
    of "gradients" are over the texts of `task_gradients`. `trains_critics`: besides them.
    `plane`: the titles of figures that a picture shows against each other.
    """

    measure: Callable[[Trained], Values]
    forms: Mapping[str, tuple[str, int]]
    note: str
    passes: Mapping[str, int]
    is_of_epochs: bool = False
    trains_critics: bool = False
    plane: tuple[str, str] | None = None


def path_of(directory: Path, name: str, most_texts: int = 0) -> Path:
    """The file of the figures of the run in `directory`."""
    end = f"_{most_texts}_texts" if most_texts else ""
    return directory / layout.ANALYSES / f"{name}{end}.json"


def figures(directory: Path, name: str, most_texts: int = 0) -> Values:
    """The figures of the finished run in `directory`; computed once.

    `most_texts`: see `Trained`.

    Raises:
      InputError: the file of earlier figures is damaged, or the run cannot be read.
    """
    path = path_of(directory, name, most_texts)
    if path.exists():
        return _read(path)
    analysis, trained = ANALYSES[name], Trained(directory, most_texts)
    values = (
        _of_epochs(analysis, trained, directory)
        if analysis.is_of_epochs
        else analysis.measure(trained)
    )
    path.parent.mkdir(exist_ok=True)
    files.write_json(path, {"format": FORMAT, "values": values})
    return _read(path)


def _of_epochs(analysis: Analysis, trained: Trained, directory: Path) -> Values:
    values: Values = {}

    def add(epoch: int, params: Params) -> None:
        for title, columns in analysis.measure(trained.at(params)).items():
            # One column, which the number of the epoch replaces.
            (figure,) = columns.values()
            values.setdefault(title, {})[str(epoch)] = figure

    retraining.visit(directory, add)
    return values


def _read(path: Path) -> Values:
    stored = files.read_json(path, "; remove it to compute it again")
    try:
        if stored["format"] != FORMAT:
            raise ValueError(f"format {shown(stored['format'])}; expected {FORMAT}")
        values = {
            title: {n: _figure(value) for n, value in columns.items()}
            for title, columns in stored["values"].items()
        }
        if not values or not all(values.values()):
            raise ValueError("no figures")
        return values
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path}: damaged: {error}; remove it to compute it again"
        ) from error


def _figure(value: Any) -> float:
    if value is None:
        return float("nan")
    if type(value) not in (int, float):
        raise ValueError(f"{shown(value)}; expected a number, or null")
    return float(value)


def task_loss(task: Task, outputs: np.ndarray, labels: np.ndarray) -> float:
    """The mean loss of outputs [N, d]: cross-entropy, or squared error.

    The error is in the unit of the labels.
    """
    if task.is_classification:
        shares = readout.class_probabilities(outputs)
        return float(-np.log(shares[np.arange(len(labels)), labels]).mean())
    return float(np.square(readout.predictions(task, outputs) - labels).mean())


def aligned(trained: Trained) -> Values:
    """The tasks' losses and the distance of two dropout views, means over the tasks."""
    values: Values = {}
    for split in ("train", "validation"):
        losses, distances = [], []
        for task in trained.tasks:
            rows = trained.rows(task, split)
            losses.append(
                task_loss(task, rows.outputs, trained.part(task, split).labels)
            )
            distances.append(alignment.alignment(*rows.views))
        values[split] = {
            "TA loss": float(np.mean(losses)),
            "SA loss": float(np.mean(distances)),
        }
    return values


def informative(trained: Trained) -> Values:
    """I(Z; Y_t) in nats by each bound, and the labels' entropy, means over the tasks.

    Regression, whose labels have no entropy in nats, counts only without other tasks.
    """
    numbers_of: dict[tuple[str, str], list[float]] = {}
    tasks = [task for task in trained.tasks if task.is_classification]
    for task in tasks or trained.tasks:
        parts = {
            split: (
                trained.rows(task, split).z,
                _targets(task, trained.part(task, split).labels),
            )
            for split in ("train", "validation")
        }
        for name, bound in information.BOUNDS.items():
            estimate = information.estimate(
                bound, parts["train"], parts["validation"], seed=trained.config.seed
            )
            numbers_of.setdefault(("train", name), []).append(estimate.training)
            numbers_of.setdefault(("validation", name), []).append(estimate.validation)
        if task.is_classification:
            for split in parts:
                labels = trained.part(task, split).labels
                entropy = information.entropy(labels)
                numbers_of.setdefault((split, "entropy"), []).append(entropy)
    values: Values = {}
    for (split, name), numbers in numbers_of.items():
        values.setdefault(split, {})[name] = float(np.mean(numbers))
    return values


def _targets(task: Task, labels: np.ndarray) -> np.ndarray:
    """Labels as rows: one-hot classes, or values."""
    if task.is_classification:
        return np.eye(task.num_outputs)[labels]
    return np.asarray(labels, np.float64)


def spread(trained: Trained) -> Values:
    """Agreement of clusters of the outputs with the labels, and uniformity of z."""
    values: Values = {}
    for task in trained.tasks:
        rows = trained.rows(task, "test")
        own = {"Uni.": uniformity.uniformity(rows.z)}
        if task.is_classification:
            labels = trained.part(task, "test").labels
            share = clusters.agreement(rows.outputs, labels, seed=trained.config.seed)
            own = {"ARI": 100 * share, **own}
        values[task.title] = own
    return values


def robust(trained: Trained) -> Values:
    """Avg. on the test set under noise of growing size."""
    kinds = {
        "FGM": (robustness.fgm(), SIZES),
        "PGD": (robustness.pgd(PGD_STEPS), SIZES),
        "random": (robustness.noise(), RANDOM_SIZES),
    }
    # The same for all kinds.
    clean = attacks.averages(trained, robustness.noise(), (0.0,))
    return {
        title: {
            f"{size:g}": average
            for size, average in zip(
                (0.0, *sizes),
                clean + attacks.averages(trained, attack, sizes),
                strict=True,
            )
        }
        for title, (attack, sizes) in kinds.items()
    }


def conflicting(trained: Trained) -> Values:
    """The mean cosine of two tasks' gradients, and the share of pairs below 0."""
    products = trained.gramian()
    angles = conflicts.cosines(products)
    pairs = angles[np.triu_indices(len(angles), 1)]
    share = 100 * float(conflicts.conflict_share(products))
    return {
        "cosine": {"": float(np.nanmean(pairs))},
        "conflicts (%)": {"": share},
    }


def plane(trained: Trained) -> Values:
    """I(X; Z) and I(Z; Z_t) in nats on the validation sets, means over the tasks."""
    points, cosines = [], []
    for task in trained.tasks:
        rows = trained.rows(task, "validation")
        # MINE has no ceiling: with a few hundred texts it falls tens of nats below zero.
        point = information_plane.point(
            information.BOUNDS["info_nce"],
            *rows.views,
            rows.outputs,
            seed=trained.config.seed,
        )
        points.append(point)
        cosines.append(information_plane.view_bound(*rows.views))
    across, upwards = np.mean(points, axis=0)
    return {
        "I(X; Z)": {"": float(across)},
        "I(Z; Z_t)": {"": float(upwards)},
        "I(X; Z), cosines": {"": float(np.mean(cosines))},
    }


ANALYSES = {
    "alignment": Analysis(
        aligned,
        {"": (".4f", -1)},
        "means over the tasks; TA loss: cross-entropy, or squared error; SA loss: squared "
        "distance of two dropout views on the sphere (Wang & Isola 2020)",
        {"train": ROWS, "validation": ROWS},
    ),
    "informativeness": Analysis(
        informative,
        {"entropy": (".4f", 0), "": (".4f", 1)},
        "estimates of I(Z; Y) in nats by new critics, means over the classification tasks, or "
        "over all tasks without one: InfoNCE is a lower bound, MINE nearly one, SMILE none; "
        "train: on the texts of the critics; entropy: of the labels, which I(Z; Y) cannot "
        "exceed",
        {"train": ROWS, "validation": ROWS},
        trains_critics=True,
    ),
    "uniformity": Analysis(
        spread,
        {"ARI": (".2f", 1), "": (".2f", -1)},
        "on the test set; ARI (%): k-means clusters of the outputs against the labels; "
        "Uni.: uniformity of z (Wang & Isola 2020), lower is better",
        {"test": ROWS},
    ),
    "robustness": Analysis(
        robust,
        {"": (".2f", 1)},
        "Avg. on the test set; columns: L2 norm of the noise on the matrix of word "
        "embeddings, anew for each batch",
        {"test": 1 + len(SIZES) * (FGM_PASSES + PGD_PASSES) + len(RANDOM_SIZES)},
    ),
    "information_plane": Analysis(
        plane,
        {"": (".3f", 0)},
        "InfoNCE, a lower bound, in nats by new critics on the validation sets, means over "
        f"the tasks; at most {np.log(information.PAIRS + 1):.2f}, the logarithm of "
        f"{information.PAIRS + 1}, or of half the texts if they are fewer; below 0 the critic "
        "learned nothing that holds for other texts; without dropout in the encoder I(X; Z) "
        "has no finite value; cosines: the bound that InfoMTL raises, whose critic is the "
        "cosine of two views; columns: epochs, 0 before training",
        {"validation": ROWS},
        is_of_epochs=True,
        trains_critics=True,
        plane=("I(X; Z)", "I(Z; Z_t)"),
    ),
    "conflicts": Analysis(
        conflicting,
        {"": (".3f", 0)},
        "gradients of the tasks' losses with respect to the encoder, on the same training "
        "batches; mean cosine of two tasks, and share of pairs below 0; columns: epochs, 0 "
        "before training",
        {"gradients": 3},
        is_of_epochs=True,
    ),
}
