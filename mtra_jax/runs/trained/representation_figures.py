"""A finished run -> z of its test texts in two dimensions, by task and by label."""

from pathlib import Path

import numpy as np

from mtra_jax.analysis import projection
from mtra_jax.reports.pictures import drawing, figures
from mtra_jax.runs.trained.finished_run import Trained
from mtra_jax.runs.trained.representation import Representer

TEXTS = 200
"""The most of a task."""


def draw(directory: Path) -> list[Path]:
    """Writes `representations` into `figures` of the run in `directory`; returns the paths.

    The two directions are those of the largest variance over the texts of all tasks, an
    equal number of each where there are enough. A panel shows the tasks, and one the labels
    of each classification task.

    Raises:
      InputError: there is no finished run of all tasks together, no data, or no matplotlib.
    """
    trained = Trained(directory)
    encode = Representer(trained.saved)
    rows: list[np.ndarray] = []
    owners: list[str] = []
    labels: list[str | None] = []
    for task in trained.tasks:
        part = trained.part(task, "test")
        count = min(TEXTS, len(part.texts))
        chosen = np.random.default_rng(0).permutation(len(part.texts))[:count]
        texts = [part.texts[i] for i in chosen]
        second = [part.second_texts[i] for i in chosen] if part.second_texts else []
        rows.append(encode(texts, second))
        owners += [task.name] * count
        own = np.asarray(part.labels)[chosen]
        is_known = task.is_classification
        labels += [task.labels[label] if is_known else None for label in own]
    projected = projection.principal_components(np.concatenate(rows))
    groupings: dict[str, list[str | None]] = {"all tasks": [*owners]}
    for task in trained.tasks:
        if task.is_classification:
            groupings[task.name] = [
                label if owner == task.name else None
                for owner, label in zip(owners, labels, strict=True)
            ]
    drawn = figures.representations(
        projected.points, groupings, projected.shares.tolist()
    )
    return drawing.save_all({"representations": drawn}, directory / drawing.DIRECTORY)
