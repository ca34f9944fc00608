"""Some tasks of a trained model are scored as they are beside all the others."""

import made_models
import numpy as np
import pytest

from mtra_jax.data.splits.examples import Examples
from mtra_jax.runs.trained import scoring


def examples_of(task):
    size = len(made_models.TEXTS)
    ids = np.arange(size)
    if task.kind == "classification":
        labels = (ids % task.num_outputs).astype(np.int32)
    elif task.kind == "multi_label":
        labels = (ids[:, None] % 2 == np.arange(task.num_outputs)).astype(np.float32)
    else:
        columns = 1.0 + np.arange(task.num_outputs)
        labels = (ids[:, None] * columns).astype(np.float32)
    return {"test": Examples(made_models.TEXTS, labels)}


# Each adds parameters: of the size of all labels, or one set for each task.
@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        "mtra",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("ew", "vmtl", "hierarchical_mtl", "infomtl", "mt_vib")
        ),
    ],
)
def test_some_tasks_have_the_figures_that_they_have_among_all(method):
    saved = made_models.make_saved(method)
    examples = {task.name: examples_of(task) for task in saved.benchmark.tasks}
    everything = scoring.score_examples(saved, examples, "test")
    some = ("topics", "length")
    figures = scoring.score_examples(saved, {n: examples[n] for n in some}, "test")
    assert list(figures) == [*some, "avg"]
    for name in some:
        assert figures[name] == pytest.approx(everything[name], rel=1e-5)
